"""An x402 facilitator over HTTP with its own funded key, which can be told to misbehave."""

from pve402_devnet.facilitator.faults import Endpoint, Fault, FaultKind
from pve402_devnet.facilitator.server import (
    FacilitatorCall,
    FacilitatorOptions,
    SimulatedFacilitator,
)

__all__ = [
    "Endpoint",
    "FacilitatorCall",
    "FacilitatorOptions",
    "Fault",
    "FaultKind",
    "SimulatedFacilitator",
]
