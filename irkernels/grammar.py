"""The call forms of einsum, as one equation and its operands.

    einsum("ij,jk->ik", A, B)                              torch.einsum, opt_einsum
    einsum("ij,jk->ik", [A, B])                            torch.einsum
    einsum(A, [0, 1], B, [1, 2], [0, 2])                   torch.einsum (integers), opt_einsum (hashable objects)

An equation may carry a contraction path behind PATH_MARK (csrc/plan/path.h): whoever hands it on hands on the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count as counter
from itertools import islice
from typing import Any

from torch import Tensor

from irkernels.remembered import remembered

PATH_MARK = "\x01"
_DOTS = "..."
_BLANKS = dict.fromkeys(map(ord, " \t\n\v\f\r"))
_PUNCTUATION = set(",.->")
_ASCII = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FIRST_UNICODE, _SURROGATES = 192, range(0xD800, 0xE000)


def read_call(equation: Any, operands: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """The equation as a string, and the operands that it names.

    Raises TypeError (neither a string nor operands with their letters; letters that are not hashable, or cannot be
    sorted where the output is implicit) and ValueError (an output letter that no operand has).
    """
    if isinstance(equation, str):
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = operands[0]
        return equation, tuple(operands)
    return _interleaved((equation, *operands))


def without_blanks(equation: str) -> str:
    return equation.translate(_BLANKS)


def without_path(equation: str) -> str:
    """The equation as its user wrote it."""
    return equation.partition(PATH_MARK)[0]


def check_characters(equation: str) -> None:
    """Raises ValueError for half a character, which no encoding has, and for the one that ends a text of C."""
    if "\0" in equation:
        raise ValueError(f"the equation {equation!r} has the control character 0 (a letter is a character)")
    if not equation.isascii() and any(ord(character) in _SURROGATES for character in equation):
        raise ValueError(f"the equation {equation!r} has a lone surrogate (a letter is a character)")


@remembered
def with_path(equation: str, path: tuple[tuple[int, ...], ...]) -> str:
    """The explicit equation that carries this path."""
    steps = ";".join("+".join(map(str, step)) for step in path)
    return f"{explicit(without_path(equation))}{PATH_MARK}{steps}" if steps else equation


def explicit(equation: str) -> str:
    """The equation without blanks and with its output written out; a path that it carries stays at its end."""
    equation, mark, path = equation.partition(PATH_MARK)
    left, arrow, output = without_blanks(equation).partition("->")
    if not arrow:
        letters = left.replace(_DOTS, "").replace(",", "")
        once = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
        output = f"{_DOTS if _DOTS in left else ''}{once}"
    return f"{left}->{output}{mark}{path}"


def symbol(i: int) -> str:
    """The i-th letter: a-z, A-Z, then code points from 192 on, surrogates left out (opt_einsum.get_symbol)."""
    if i < len(_ASCII):
        return _ASCII[i]
    code = i - len(_ASCII) + _FIRST_UNICODE
    return chr(code if code < _SURROGATES.start else code + len(_SURROGATES))


def fresh_letters(equation: str, count: int) -> list[str]:
    """Letters that the equation does not use."""
    return list(islice((letter for letter in map(symbol, counter()) if letter not in equation), count))


def _interleaved(arguments: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    pairs = len(arguments) // 2
    operands, sublists = arguments[: 2 * pairs : 2], arguments[1 : 2 * pairs : 2]
    output = arguments[-1] if len(arguments) % 2 else None
    if not pairs:
        raise TypeError(f"equation must be a string, got {type(arguments[0]).__name__}")
    terms = tuple(_letters(f"of operand {p}", sublist, arguments[0]) for p, sublist in enumerate(sublists))
    written = None if output is None else _letters("of the output", output, arguments[0])
    return _spelled(terms, written), operands


@remembered
def _spelled(terms: tuple[tuple[Any, ...], ...], output: tuple[Any, ...] | None) -> str:
    """The equation of these letters."""
    found = dict.fromkeys(letter for term in terms for letter in term if letter is not Ellipsis)
    names = {**_names(list(found)), Ellipsis: _DOTS}
    output = _implicit(terms) if output is None else output
    for letter in output:
        if letter not in names:
            raise ValueError(
                f"the output has the letter {letter!r}, which no operand has (its letters must stand in some operand)"
            )
    spelled = ["".join(names[letter] for letter in term) for term in (*terms, output)]
    return f"{','.join(spelled[:-1])}->{spelled[-1]}"


def _letters(where: str, sublist: Any, first: Any) -> tuple[Any, ...]:
    """The letters of one sublist: hashable objects and Ellipsis."""
    if isinstance(sublist, Tensor) and not sublist.is_floating_point() and sublist.dim() == 1:
        sublist = sublist.tolist()
    if isinstance(sublist, (str, bytes, Tensor)) or not hasattr(sublist, "__iter__"):
        raise TypeError(
            f"equation must be a string, or operands must each be followed by a list of letters; got"
            f" {type(first).__name__}, and {type(sublist).__name__} as the letters {where}"
        )
    letters = tuple(sublist)
    for letter in letters:
        try:
            hash(letter)
        except TypeError:
            raise TypeError(
                f"the letter {letter!r} {where} is a {type(letter).__name__}; a letter is a hashable object or Ellipsis"
            ) from None
    return letters


def _names(letters: list[Any]) -> dict[Any, str]:
    """A letter of the grammar for each object: itself where it is one (digits included), else the next free one."""
    own = {letter: str(letter) for letter in letters if _names_itself(letter)}
    if len(set(own.values())) < len(own):  # 1 and "1"
        own = {}
    taken, names, i = set(own.values()), {}, 0
    for letter in letters:
        if letter not in own:
            while symbol(i) in taken:
                i += 1
            taken.add(symbol(i))
        names[letter] = own[letter] if letter in own else symbol(i)
    return names


def _names_itself(letter: Any) -> bool:
    if isinstance(letter, str):
        return len(letter) == 1 and letter.isprintable() and letter not in _PUNCTUATION and not letter.isspace()
    return type(letter) is int and 0 <= letter <= 9


def _implicit(terms: tuple[tuple[Any, ...], ...]) -> tuple[Any, ...]:
    """`...` first, then the letters that stand once in all terms, sorted as the objects that they are."""
    everywhere = [letter for term in terms for letter in term]
    counts: dict[Any, int] = {}
    for letter in everywhere:
        counts[letter] = counts.get(letter, 0) + 1
    dots = (Ellipsis,) if Ellipsis in counts else ()
    once = [letter for letter, count in counts.items() if count == 1 and letter is not Ellipsis]
    try:
        return (*dots, *sorted(once))
    except Exception:  # the objects' own, whatever it is
        raise TypeError(
            f"the letters {once!r} cannot be sorted, which an implicit output needs; name the output's letters last"
        ) from None
