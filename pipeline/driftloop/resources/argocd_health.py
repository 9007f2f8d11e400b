"""What Argo CD is told of the health of kinds that it does not know: Lua, for its ConfigMap."""

from collections.abc import Mapping

from driftloop.contract.names import MANAGED_BY_LABEL, OWNER

SETTINGS = "argocd-cm"
"""ConfigMap of Argo CD, in its namespace."""

_READY = """\
local hs = {status = "Progressing", message = "waits for its controller"}
local status = obj.status
if status == nil or status.conditions == nil then return hs end
if status.observedGeneration ~= nil and status.observedGeneration ~= obj.metadata.generation then return hs end
for _, condition in ipairs(status.conditions) do
  if condition.type == "Ready" then
    hs.message = condition.message or condition.reason or ""
    if condition.status == "True" then hs.status = "Healthy" end
    if condition.status == "False" then hs.status = "Degraded" end
  end
end
return hs
"""
_EVERY_CONDITION = """\
local hs = {status = "Progressing", message = "waits for its controller"}
if obj.status == nil or obj.status.conditions == nil then return hs end
for _, condition in ipairs(obj.status.conditions) do
  if condition.status ~= "True" then
    hs.message = condition.type .. ": " .. (condition.message or condition.reason or condition.status)
    if condition.status == "False" then hs.status = "Degraded" end
    return hs
  end
end
return {status = "Healthy", message = ""}
"""
# The operator tells no observedGeneration: until it has looked, Available is said of the predictors before.
_SELDON = """\
local hs = {status = "Progressing", message = "waits for its predictors"}
local status = obj.status
if status == nil or status.state == nil then return hs end
if status.state == "Failed" then
  return {status = "Degraded", message = status.description or "Failed"}
end
if status.state ~= "Available" or status.serviceStatus == nil then return hs end
for _, predictor in ipairs(obj.spec.predictors) do
  if status.serviceStatus[obj.metadata.name .. "-" .. predictor.name] == nil then return hs end
end
return {status = "Healthy", message = ""}
"""
# A wave of ours waits until the one before was applied once: it orders the first installation, and holds no commit up.
_APPLICATION = f"""\
local labels, status = obj.metadata.labels or {{}}, obj.status or {{}}
if labels["{MANAGED_BY_LABEL}"] == "{OWNER}" then
  if status.history ~= nil and #status.history > 0 then return {{status = "Healthy", message = ""}} end
  return {{status = "Progressing", message = "has applied no commit yet"}}
end
local health = status.health or {{}}
return {{status = health.status or "Progressing", message = health.message or ""}}
"""

HEALTH: Mapping[str, str] = {
    "argoproj.io_Application": _APPLICATION,
    "argoproj.io_EventSource": _EVERY_CONDITION,
    "argoproj.io_Sensor": _EVERY_CONDITION,
    "eventing.knative.dev_Broker": _READY,
    "eventing.knative.dev_Trigger": _READY,
    "machinelearning.seldon.io_SeldonDeployment": _SELDON,
}
"""Kind of a pipeline's objects -> script that says how they are."""


def list_health_settings() -> dict[str, str]:
    """Return the keys of Argo CD's ConfigMap that tell it of the health of these kinds."""
    return {name_health_setting(kind): script for kind, script in HEALTH.items()}


def name_health_setting(kind: str) -> str:
    """Return the key of Argo CD's ConfigMap that tells it of the health of a kind."""
    return f"resource.customizations.health.{kind}"
