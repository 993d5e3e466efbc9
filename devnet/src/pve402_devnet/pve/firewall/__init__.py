"""The firewall: its files, the checks of its rules, and the filters that come of them."""
