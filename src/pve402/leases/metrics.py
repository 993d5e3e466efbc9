"""Prometheus metrics for operators: orders, expiry, repeated failures."""

import prometheus_client

from pve402.domain import order

ORDERS = prometheus_client.Counter(
    "pve402_orders_total", "Closed orders, by kind and outcome.", ("kind", "outcome")
)
EARNED = prometheus_client.Counter(
    "pve402_earned_atomic_total", "Settled amounts in atomic units, by network.", ("network",)
)
OWED = prometheus_client.Gauge(
    "pve402_owed_atomic", "Money owed to tenants in atomic units, by network.", ("network",)
)
LEASES_OVER = prometheus_client.Counter(
    "pve402_leases_over_total", "Leases that ended, by reason.", ("reason",)
)
EXPIRY_LAG = prometheus_client.Histogram(
    "pve402_expiry_lag_seconds",
    "Time from a lease's end until its guest was seen stopped.",
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200),
)
POSTPONED = prometheus_client.Counter(
    "pve402_rows_postponed_total", "Retries of workflow steps, by table.", ("table",)
)
FAILED = prometheus_client.Counter(
    "pve402_workflow_bugs_total", "Workflows that failed with an unexpected error.", ("table",)
)
BUSY = prometheus_client.Gauge("pve402_rows_in_work", "Rows that this process is working on.")
STRANGERS = prometheus_client.Gauge(
    "pve402_strangers", "Guests with our tag but without a current lease."
)
PROXMOX_AGE = prometheus_client.Gauge(
    "pve402_proxmox_age_seconds", "How long ago Proxmox VE was last seen."
)
POOL = prometheus_client.Gauge(
    "pve402_pool_guests", "Guests of the warm pool, by sku: wanted and ready.", ("sku", "state")
)
FROM_POOL = prometheus_client.Counter(
    "pve402_pool_taken_total", "Guests taken from the warm pool, by outcome.", ("outcome",)
)


def count(closed: order.Order) -> None:
    """Count a closed order."""
    ORDERS.labels(closed.kind.value, closed.status.value).inc()
    if closed.status is order.OrderStatus.SETTLED:
        EARNED.labels(closed.network).inc(closed.share_atomic)
