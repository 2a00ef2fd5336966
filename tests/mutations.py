"""Small changes of C that a test ought to notice: what `make mutants` judges.

A mutation replaces one stretch of a source: an operator by another, a bound by the one beside it, a
constant by its neighbours, a condition by its opposite, a statement by nothing, what is returned by
something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tree_sitter_c
from tree_sitter import Language, Node, Parser

OTHER = {
    "+": "-", "-": "+", "*": "/", "/": "*", "%": "*", "<<": ">>", ">>": "<<", "&": "|", "|": "&",
    "^": "|", "&&": "||", "||": "&&", "==": "!=", "!=": "==",
    "+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "|=": "&=", "&=": "|=", "^=": "|=",
    "<<=": ">>=", ">>=": "<<=", "++": "--", "--": "++",
}  # fmt: skip
BOUNDS = {"<": ("<=", ">="), "<=": ("<", ">"), ">": (">=", "<="), ">=": (">", "<")}
NUMBER = re.compile(r"(0x[0-9a-fA-F]+|[0-9]+)([uUlL]*)")
CONSTANT = re.compile(r"(ESNN|U?INT(8|16|32|64))_[A-Z0-9_]+|[A-Z][A-Z0-9_]+")
CONDITIONAL = ("if_statement", "while_statement", "do_statement", "for_statement")
STATEMENTS = ("expression_statement", "break_statement", "continue_statement")
ASSIGNED = ("assignment_expression", "update_expression")


@dataclass(frozen=True)
class Mutation:
    """One change of a source: bytes from `start` to `end` become `text`."""

    file: Path
    start: int
    end: int
    text: str
    kind: str
    line: int

    def of(self, source: bytes) -> bytes:
        """The source, changed."""
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutations(file: Path, functions_only: bool = False) -> Iterator[Mutation]:
    """All of a source, in the order of their places; of a header only those in its functions."""
    source = file.read_bytes()
    tree = Parser(Language(tree_sitter_c.language())).parse(source)

    def change(node: Node, text: str, kind: str) -> Mutation:
        line = source.count(b"\n", 0, node.start_byte) + 1
        return Mutation(file, node.start_byte, node.end_byte, text, kind, line)

    def walk(node: Node, inside: bool) -> Iterator[Mutation]:
        inside = inside or node.type == "function_definition"
        if inside or not functions_only:
            for text, kind, where in of_node(node, source):
                yield change(where, text, kind)
        for child in node.children:
            if node.field_name_for_child(node.children.index(child)) == "condition" and (
                node.type.startswith("preproc")
            ):
                continue
            yield from walk(child, inside)

    yield from walk(tree.root_node, False)


def of_node(node: Node, source: bytes) -> Iterator[tuple[str, str, Node]]:
    """Of each change that begins at a node: the new text, its kind, and what gives way to it."""

    def text(of: Node) -> str:
        return source[of.start_byte : of.end_byte].decode()

    if node.type in ("binary_expression", *ASSIGNED):
        operator = node.child_by_field_name("operator")
        if operator is not None:
            if operator.type in OTHER:
                yield OTHER[operator.type], "operator", operator
            for other in BOUNDS.get(operator.type, ()):
                yield other, "bound", operator
    elif node.type == "unary_expression":
        operator, argument = node.children[0], node.children[-1]
        if operator.type in ("!", "-", "~"):
            yield text(argument), "operator", node
    elif node.type == "number_literal":
        found = NUMBER.fullmatch(text(node))
        if found:
            value = int(found[1], 0)
            yield f"{value + 1}{found[2]}", "constant", node
            if value > 0:
                yield f"{value - 1}{found[2]}", "constant", node
    elif node.type == "identifier" and CONSTANT.fullmatch(text(node)):
        parent = node.parent
        if parent is not None and parent.type in ("binary_expression", "argument_list"):
            yield f"({text(node)} + 1)", "constant", node
            yield f"({text(node)} - 1)", "constant", node
    elif node.type in (*CONDITIONAL, "conditional_expression"):
        condition = node.child_by_field_name("condition")
        if condition is not None:
            yield f"(!({text(condition)}))", "condition", condition
    elif node.type == "return_statement":
        values = [child for child in node.children if child.is_named and child.type != "comment"]
        if values and text(values[0]) not in ("0", "NULL"):
            yield "0", "return", values[0]
        if values:
            yield f"!({text(values[0])})", "return", values[0]
        else:
            yield ";", "statement", node
    elif node.type in STATEMENTS and text(node) != ";":
        yield ";", "statement", node
