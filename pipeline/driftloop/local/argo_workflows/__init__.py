"""Stand-in for Argo Workflows: WorkflowTemplates as processes, CronWorkflows on schedule."""
