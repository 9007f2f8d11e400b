"""Every rule, in the order of its code. A rule is a function in its family's file; listing it
here registers it."""

from driftloop.check.finding import CheckRule
from driftloop.check.rules import (
    argo_events,
    files,
    gitops,
    knative,
    mesh,
    monitoring,
    network,
    scaling,
    schemas,
    security,
    serving,
    values,
    variables,
    versions,
    workflows,
    workloads,
)

RULES: tuple[CheckRule, ...] = (
    files.syntax, files.encoding, files.size, files.expansion, files.duplicate_key, files.key, files.half_an_object,
    files.no_name, files.generated_name, files.twice,
    values.labels, values.environment, values.parameters, values.data, values.event_source_port, values.event_values,
    values.other_parameters,
    versions.removed_version, versions.removed_field,
    argo_events.event_source, argo_events.event_name, argo_events.started_template, argo_events.started_parameters,
    argo_events.trigger_dependency, argo_events.destination, argo_events.bus, argo_events.event_bus,
    knative.trigger_broker, knative.subscriber, knative.filterless, knative.filtered_model, knative.filter_words,
    knative.sent_to_broker, knative.cluster_address,
    workflows.entrypoint, workflows.local_template, workflows.template_reference, workflows.dependencies,
    workflows.inputs, workflows.unique, workflows.handlers, workflows.collected,
    variables.input_tag, variables.step_tag, variables.output_tag, variables.workflow_tag, variables.parameter_tag,
    serving.traffic, serving.shadow, serving.predictor_names, serving.graph_node, serving.model_uri,
    serving.logger_mode, serving.protocol, serving.same_model, serving.same_deployment,
    network.destination, network.subset, network.no_weight, network.weights, network.gateway, network.selector,
    network.target_port,
    mesh.selects_nothing, mesh.refuses_everybody, mesh.strict_without_mesh,
    monitoring.nothing_selected, monitoring.scraped_port, monitoring.rule_form, monitoring.same_alert,
    workloads.volume, workloads.mounted, workloads.keys, workloads.service_account, workloads.own_selector,
    workloads.gpu, workloads.image, workloads.role, workloads.subject, workloads.sensor_rights,
    scaling.scale_target, scaling.scaled_replicas, scaling.budget_selector, scaling.no_eviction, scaling.two_budgets,
    gitops.path, gitops.depends, gitops.circle, gitops.source, gitops.listed_files, gitops.unlisted,
    security.plain_secret, security.open_webhook, security.any_host,
    schemas.unknown, schemas.wrong_type, schemas.required, schemas.value,
)  # fmt: skip
