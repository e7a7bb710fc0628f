"""Loaded by Schemathesis (SCHEMATHESIS_HOOKS)."""

import re

import schemathesis
from hypothesis.internal import lambda_sources

# Hypothesis parses the source of each lambda to describe it in messages. Deep inside of a generator that can meet the
# recursion limit, where Python 3.11 fails with "AST constructor recursion depth mismatch".
lambda_sources.lambda_description = lambda function: "a function"


@schemathesis.hook
def before_call(context, case, kwargs):
    """Keeps an administrator from deleting the tags of the environment's own templates, which he could."""
    if case.operation.definition.raw.get("operationId") != "delete_template_tag":
        return
    template_id = case.path_parameters.get("template_id")
    if isinstance(template_id, str) and re.fullmatch("[a-z][a-z0-9]+", template_id) and template_id[:4] != "fuzz":
        case.path_parameters["template_id"] = f"fuzz{template_id}"[:64]
