"""Pipeline -> Plan: `plan(document, cluster=…)` fills defaults, chooses names and checks references; no I/O."""

from pipeline.plan.names import Names
from pipeline.plan.plan import Monitor, Plan, Step, plan
from pipeline.plan.trials import Trial

__all__ = ["Monitor", "Names", "Plan", "Step", "Trial", "plan"]
