"""Pipeline -> Plan: `plan(document, cluster=…)` fills defaults, chooses names and checks
references; no I/O."""

from driftloop.contract.names import Names
from driftloop.plan.plan import DataStepPlan, Monitor, Plan, make_plan
from driftloop.plan.trials import Trial

__all__ = ["DataStepPlan", "Monitor", "Names", "Plan", "Trial", "make_plan"]
