"""GraphQL without a schema: a selection is walked over plain values.

A node is a dict. A value in it that can be called is a field with arguments, or one that is dear.
A field that a node does not have is null, so that a client newer than the server still works; but
an unknown mutation is an error: with null, a client takes what was not done for done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphql import GraphQLSyntaxError, parse
from graphql.language import ast

Node = Mapping[str, Any]
_INTERFACES = {"ArtifactCollection": {"ArtifactSequence", "ArtifactPortfolio"}}


class QueryError(Exception):
    """Becomes an entry of "errors"; status is that of the HTTP answer."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status


class Execution:
    """One operation of a request."""

    def __init__(self, text: str, variables: Mapping[str, Any], name: str | None = None) -> None:
        """Parse the document; raises QueryError."""
        try:
            definitions = parse(text, no_location=True).definitions
        except GraphQLSyntaxError as error:
            raise QueryError(str(error), 400) from None
        self._fragments = {
            d.name.value: d for d in definitions if isinstance(d, ast.FragmentDefinitionNode)
        }
        operations = [d for d in definitions if isinstance(d, ast.OperationDefinitionNode)]
        named = [d for d in operations if name in (None, d.name and d.name.value)]
        if not named:
            raise QueryError(f"There is no operation {name!r} in the document.", 400)
        self._operation = named[0]
        self.is_mutation = self._operation.operation == ast.OperationType.MUTATION
        defaults = {
            d.variable.name.value: self._value(d.default_value)
            for d in self._operation.variable_definitions or ()
            if d.default_value is not None
        }
        self._variables = defaults | dict(variables)

    @property
    def fields(self) -> list[str]:
        """The fields asked for at the top: createArtifact, project, …"""
        return [field.name.value for field in self._fields(self._operation.selection_set, {})]

    def run(self, root: Node) -> dict[str, Any]:
        """Return the data; raises QueryError, or what a field raises."""
        unknown = [name for name in self.fields if name not in root]
        if self.is_mutation and unknown:
            raise QueryError(f"Cannot query field {unknown[0]!r} on type 'Mutation'.")
        return self._select(self._operation.selection_set, root)

    def _select(self, selection: ast.SelectionSetNode | None, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [self._select(selection, item) for item in value]
        if selection is None or value is None:
            return value
        found: dict[str, Any] = {}
        for field in self._fields(selection, value):
            key = field.alias.value if field.alias else field.name.value
            result = self._select(field.selection_set, self._resolve(field, value))
            if isinstance(found.get(key), dict) and isinstance(result, dict):
                found[key] |= result  # asked for twice, by two fragments
            else:
                found[key] = result
        return found

    def _resolve(self, field: ast.FieldNode, node: Node) -> Any:
        value = node.get(field.name.value)
        if not callable(value):
            return value
        return value(**{a.name.value: self._value(a.value) for a in field.arguments or ()})

    def _fields(self, selection: ast.SelectionSetNode, node: Node) -> list[ast.FieldNode]:
        found = []
        for item in selection.selections:
            if not self._included(item):
                continue
            if isinstance(item, ast.FieldNode):
                found.append(item)
            elif self._applies(inner := self._inner(item), node):
                found += self._fields(inner.selection_set, node)
        return found

    def _inner(self, item: ast.SelectionNode) -> Any:
        if isinstance(item, ast.FragmentSpreadNode):
            return self._fragments[item.name.value]
        return item

    @staticmethod
    def _applies(fragment: Any, node: Node) -> bool:
        kind = node.get("__typename")
        if fragment.type_condition is None or kind is None:
            return True
        condition = fragment.type_condition.name.value
        return condition in ("Node", kind) or kind in _INTERFACES.get(condition, ())

    def _included(self, item: ast.SelectionNode) -> bool:
        for directive in item.directives or ():
            wanted = directive.name.value == "include"
            [argument] = directive.arguments
            if bool(self._value(argument.value)) != wanted:
                return False
        return True

    def _value(self, node: Any) -> Any:
        match node:
            case ast.VariableNode():
                return self._variables.get(node.name.value)
            case ast.ListValueNode():
                return [self._value(item) for item in node.values or ()]
            case ast.ObjectValueNode():
                return {field.name.value: self._value(field.value) for field in node.fields or ()}
            case ast.IntValueNode():
                return int(node.value)
            case ast.FloatValueNode():
                return float(node.value)
            case ast.NullValueNode():
                return None
        return node.value  # a text, a boolean, an enum
