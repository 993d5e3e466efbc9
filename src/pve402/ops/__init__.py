"""What operators run: doctor, metrics, revenue, reconcile, rebuild."""
