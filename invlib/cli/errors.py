"""Bad input ends in one line on stderr and exit code 1 or 2, never in a traceback."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from ..extras import explained
from ..memory import is_full

FAILED, USAGE, NOT_EXACT, INTERRUPTED = 1, 2, 3, 130
TRACE = "INVLIB_TRACEBACK"  # environment variable: let what is not expected end in a traceback
UsageError: Any = typer.BadParameter.__bases__[0]  # of click, or of the copy that typer has
EXPECTED = (ValueError, TypeError, OSError, NotImplementedError, OverflowError)
FULL = "out of memory; give a lower --max-batch to invert, a smaller --dtype, or another --device"
# What the library says to who writes Python, and what that is on the command line.
SPELLED = {
    r", as PIL's image\.convert\('?(\w+)'?\) does": r" to \1 with an image editor",
    r"give the pipeline (a deterministic) scheduler, e\.g\. pipe\.scheduler = (\w+)\..*?\)": (
        r"give \1 one, such as --scheduler \2"
    ),
    r"see invlib\.portraits\.words\(\) for the words it knows": "`invlib models --words` lists all",
    r"a budget must be positive: give more evaluations or seconds": (
        "--evaluations and --seconds must be positive: give more, or leave them out"
    ),
    r"method '(\w+)' has no option others: leave it out, or exact": (
        r"--others needs --method exact: --method \1 does not look for other noises"
    ),
    r"num_inference_steps=(\d+) is": r"--steps \1 is",
    r"load the pipeline in a wider dtype, such as float32": "take a wider --dtype, such as float32",
    r"load the autoencoder in float32 \(pipe\.vae\.to\(torch\.float32\)\)": "take --dtype float32",
    r"; use quasi_newton": "; use --decoder quasi_newton",
    r"give generator=": 'give "generator": {"seed": NUMBER} by --call,',
    r"give shape=\(N, C, H, W\) of the draw, or .*? if it is as drawn": (
        "give --drawn CHANNELSxHEIGHTxWIDTH of it"
    ),
    r"guidance_scale was not given: 1": "--guidance-scale was not given: 1",
    r"with guidance_scale=1": "with --guidance-scale 1",
    r"\binvert latents\b": "invert latents in Python",
}
# What options are called elsewhere.
KNOWN_AS = {
    "--sampler": "--scheduler",
    "--cfg": "--guidance-scale",
    "--cfg-scale": "--guidance-scale",
    "--num-inference-steps": "--steps",
    "--out": "--output",
    "--time": "--seconds",
    "--budget": "--seconds",
    "--image": "--picture",
}


class Reported(TyperGroup):
    """A group of commands that report what the library refuses, and wrong usage, in one line."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the words on the command line up to the command's name."""
        try:
            return super().make_context(*args, **kwargs)
        except UsageError as error:
            raise _ended(error) from None

    def invoke(self, ctx: Any) -> Any:
        """Run a command; say what was wrong in one line."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of a pipe has seen enough
            raise
        except UsageError as error:
            raise _ended(error) from None
        except ImportError as error:
            problem = explained(error)
        except EXPECTED as error:
            problem = spelled(str(error) or type(error).__name__)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            typer.echo("error: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if os.environ.get(TRACE):
                raise
            problem = FULL if is_full(error) else _unexpected(error)
        typer.echo(f"error: {one_line(problem)}", err=True)
        raise typer.Exit(FAILED)


def harmless(text: str) -> str:
    """A text without what a terminal would take as a command, or could not write."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def one_line(text: str) -> str:
    """A harmless text without line breaks."""
    return harmless(" ".join(text.split()))


def _unexpected(error: Exception) -> str:
    """What no one has thought of."""
    said = f"{type(error).__name__}: {error}".rstrip(": .")
    return f"{said} (this is not expected: {TRACE}=1 shows where it comes from; please report it)"


def spelled(problem: str) -> str:
    """What the library says, with the names that the command line has for it."""
    for said, ours in SPELLED.items():
        problem = re.sub(said, ours, problem)
    return problem


def _ended(error: Any) -> Exception:
    """Say in one line what is wrong with the words on the command line."""
    if type(error).__name__ == "NoArgsIsHelpError":  # no error: it asks for the help
        return error
    context = error.ctx
    problem = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    problem = problem.replace(". Did you mean", "; did you mean")
    problem = problem[:1].lower() + re.sub(r" \(Possible options: .*\)$", "", problem[1:])
    name = "invlib" if context is None else context.command_path
    hint = "" if context is None else _near(error, problem, context.command.get_params(context))
    typer.echo(f"error: {one_line(problem + hint)} (`{name} --help` lists all)", err=True)
    return typer.Exit(USAGE)


def _near(error: Any, problem: str, parameters: Sequence[Any]) -> str:
    """The option or value that was probably meant, as an addition to the sentence."""
    known = {name[2:]: name for p in parameters for name in p.opts if name.startswith("--")}
    if option := getattr(error, "option_name", ""):
        name = KNOWN_AS.get(option, "")
        near = difflib.get_close_matches(option.lstrip("-"), [*known], n=1)
        found = name if name[2:] in known else known[near[0]] if near else ""
        return f"; did you mean {found}?" if found else ""
    if "unexpected extra argument" in problem and "picture" in known:
        return "; give the picture by --picture"
    if match := re.search(r"'([^']*)' is not one of (.*)$", problem):
        near = difflib.get_close_matches(match[1], re.findall(r"'([^']*)'", match[2]), n=1)
        return f"; did you mean {near[0]!r}?" if near else ""
    return ""
