"""Pipeline -> Plan: `plan(document, cluster=…)` fills defaults, chooses names and checks
references; no I/O."""

from driftloop.contract.names import Names
from driftloop.plan.plan import Monitor, Plan, Step, plan
from driftloop.plan.trials import Trial

__all__ = ["Monitor", "Names", "Plan", "Step", "Trial", "plan"]
