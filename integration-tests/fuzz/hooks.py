"""Loaded by Schemathesis (SCHEMATHESIS_HOOKS)."""

import re

import schemathesis
from hypothesis.internal import lambda_sources

# Hypothesis parses the source of each lambda to describe it in messages. Deep inside of a generator that can meet the
# recursion limit, where Python 3.11 fails with "AST constructor recursion depth mismatch".
lambda_sources.lambda_description = lambda function: "a function"


# What counts as yes in a query.
YES = {"true", "1", "yes", "y", "on", "t"}


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.definition.raw.get("operationId")
    if operation == "delete_template_tag":
        keep_foreign_tags(case)
    if operation in ("get_pod_logs", "get_pod_log_run"):
        ask_for_an_end(case)


def keep_foreign_tags(case):
    """Keeps an administrator from deleting the tags of the environment's own templates, which he could."""
    template_id = case.path_parameters.get("template_id")
    if isinstance(template_id, str) and re.fullmatch("[a-z][a-z0-9]+", template_id) and template_id[:4] != "fuzz":
        case.path_parameters["template_id"] = f"fuzz{template_id}"[:64]


def ask_for_an_end(case):
    """Followed logs do not end."""
    follow = case.query.get("follow") if case.query else None
    if follow is not None and str(follow).strip().lower() in YES:
        del case.query["follow"]
