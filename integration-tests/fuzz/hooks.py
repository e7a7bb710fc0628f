"""Loaded by Schemathesis (SCHEMATHESIS_HOOKS)."""

from hypothesis.internal import lambda_sources

# Hypothesis parses the source of each lambda to describe it in messages. Deep inside of a generator that can meet the
# recursion limit, where Python 3.11 fails with "AST constructor recursion depth mismatch".
lambda_sources.lambda_description = lambda function: "a function"
