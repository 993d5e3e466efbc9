"""Somebody new who follows the operator's tutorial, on a machine that has nothing of ours."""
