"""What bench_render compares with: the two WorkflowTemplates of a pipeline by Hera alone.

    python tests/bench/plain_hera.py SPEC FOLDER COUNT

Builds them with the same calls as `driftloop render`, writes what Hera's own `to_yaml` prints, and does nothing else:
the spec is read once, no other object is made.
"""

import sys
from dataclasses import replace
from pathlib import Path

from hera.workflows import WorkflowTemplate

from driftloop.plan import Names, make_plan
from driftloop.resources.serving.rehearsal import rehearsed_servers
from driftloop.resources.workflows import rollout, templates, training
from driftloop.spec import load_spec


def main() -> None:
    spec, folder, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    plan = make_plan(load_spec(spec.read_text(), path=str(spec)))
    unbuilt: list[WorkflowTemplate] = []
    build = WorkflowTemplate.build

    def keep(template: WorkflowTemplate) -> None:
        unbuilt.append(template)

    for number in range(count):
        named = replace(plan, names=Names(f"p{number:03}", f"p{number:03}"))
        # our functions end with build(); to_yaml does that itself
        WorkflowTemplate.build = keep
        templates.workflow_template(
            named, training.training_outline(named, rehearsed_servers(named))
        )
        templates.workflow_template(named, rollout.rollout_outline(named))
        WorkflowTemplate.build = build
        while unbuilt:
            template = unbuilt.pop()
            (folder / f"{template.name}.yaml").write_text(template.to_yaml())


if __name__ == "__main__":
    main()
