"""What pages say in words about the measured tables, beside what ``results/`` holds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from chapters import ROOT

from invlib.flow import FLOW_RIVALS
from invlib.measured import results
from invlib.precision import MOST, SINGLE
from invlib.reproduce.tables import flow, honesty, reversible
from invlib.reproduce.tables.reversible import REVERSIBLE, parsed

Row = dict[str, Any]


@dataclass(frozen=True)
class Sentence:
    """A sentence of a page.

    Attributes:
        page: the page, in ``book``; or a file beside the code.
        text: words of the sentence, as the page has them.
        holds: ``() -> whether it is so``, one answer for each thing that it speaks of.
    """

    page: str
    text: str
    holds: Callable[[], Iterator[bool]]


# --- flow matching


def flows() -> dict[tuple[str, float, str], Row]:
    return {(r["sampler"], r["guidance"], r["method"]): r for r in results("flow")["rows"]}


def no_rival_is_exact() -> Iterator[bool]:
    yield from (row["exact"] == 0 for (_, _, method), row in flows().items() if method != "exact")


def uni_inv_is_nearest_on_eulers_images() -> Iterator[bool]:
    known = flows()
    for (sampler, scale, method), row in known.items():
        if sampler.startswith("Euler") and method == "uni_inv":
            others = [known[sampler, scale, m]["image_db"] for m in FLOW_RIVALS]
            yield row["image_db"] == min(others)


def rivals_are_nearer_on_their_own_samplers() -> Iterator[bool]:
    known = flows()
    for (sampler, scale, method), row in known.items():
        for rival, own in (("rf_solver", "midpoint"), ("fireflow", "FireFlow")):
            if method == rival and sampler.startswith(own):
                euler = known[sampler.replace(own, "Euler"), scale, rival]
                yield row["image_db"] < euler["image_db"] - 5


def rf_inversion_finds_a_random_noise() -> Iterator[bool]:
    yield from (row["noise_db"] > 0 for (_, _, m), row in flows().items() if m == "rf_inversion")


def ours_is_exact_but_at_the_largest_scale() -> Iterator[bool]:
    found = {(n, w): row["exact"] for (n, w, m), row in flows().items() if m == "exact" and w < 7}
    yield found == {(n, w): 1 for n in flow.SAMPLERS for w in (1.0, 3.5)}


def ours_costs_two_to_about_two_hundred_times_a_rival() -> Iterator[bool]:
    known = flows()
    ratios = [
        known[sampler, scale, "exact"]["nfe"] / row["nfe"]
        for (sampler, scale, method), row in known.items()
        if method != "exact" and (sampler, scale, "exact") in known
    ]
    yield 2 < min(ratios) < 3
    yield 150 < max(ratios) < 250
    most = max(known, key=lambda at: known[at]["nfe"])
    yield most[0].startswith(("midpoint", "FireFlow")) and most[1] == 7.5


def rivals_end_nearer_to_eulers_noise() -> Iterator[bool]:
    known = flows()
    found = known["Euler-10", 7.5, "exact"]["noise_db"]
    for rival in FLOW_RIVALS:
        if rival != "rf_inversion":
            yield known["Euler-10", 7.5, rival]["noise_db"] < found


def second_order_samplers_give_the_true_noise_back() -> Iterator[bool]:
    known = flows()
    yield known["Euler-10", 3.5, "exact"]["noise_db"] > -20
    for name in ("midpoint-10", "FireFlow-10"):
        yield known[name, 3.5, "exact"]["noise_db"] < -40


def at_the_largest_scale_one_image_of_four_fails_at_times() -> Iterator[bool]:
    shares = {r["exact"] for (_, w, m), r in flows().items() if m == "exact" and w == 7.5}
    yield shares == {0.75, 1.0}


# --- likelihoods


def without_guidance_only_the_likelihood_tells() -> Iterator[bool]:
    for row in results("likelihood")["rows"]:
        if row["guidance"] == 1:
            others = ("norm", "density_of_noise", "whiteness", "naive")
            yield row["top1_likelihood"] == 1 > 0.5 >= max(row[f"top1_{name}"] for name in others)


def with_guidance_the_density_tells_and_the_lead_is_larger() -> Iterator[bool]:
    known = {(r["sampler"], r["guidance"]): r for r in results("likelihood")["rows"]}
    for (sampler, guidance), row in known.items():
        if guidance == 3:
            yield row["top1_density_of_noise"] == 1
            yield row["lead_median"] > 10 * known[sampler, 1.0]["lead_median"]


# --- reversible samplers


def pairs() -> list[Row]:
    rows: list[Row] = results("reversible")["rows"]
    return [row for row in rows if parsed(row["sampler"])[0] in REVERSIBLE]


def pairs_give_back_the_noise() -> Iterator[bool]:
    for row in pairs():
        if not row["sampler"].startswith("BDIA, γ 0.5"):
            yield row["noise_pair_db"] < -200 and row["image_pair_db"] < -200


def small_gamma_loses_the_noise_in_many_steps() -> Iterator[bool]:
    yield from (r["noise_pair_db"] > 0 for r in pairs() if r["sampler"] == "BDIA, γ 0.5-50")


def the_image_alone_gives_another_noise_and_image() -> Iterator[bool]:
    yield from (row["noise_image_db"] > -60 and row["image_noise_db"] > -60 for row in pairs())


def errors_grow_by_at_least_the_bound() -> Iterator[bool]:
    yield from (row["growth"] >= row["least_growth"] for row in pairs())


def obeyed(family: str, steps: int, scale: float) -> float:
    """The share of colours that are as asked."""
    place = (f"{family}-{steps}", scale)
    (row,) = (r for r in results("reversible")["rows"] if (r["sampler"], r["guidance"]) == place)
    return float(row["obeyed"])


def without_guidance_all_obey_alike() -> Iterator[bool]:
    for steps in (10, 20):
        shares = [obeyed(family, steps, 1.0) for family in (*REVERSIBLE, *reversible.SOLVERS)]
        yield max(shares) - min(shares) < 0.05


def with_guidance_pairs_lose_colours() -> Iterator[bool]:
    for steps in (10, 20):
        for scale in (3.0, 7.5):
            for family in ("EDICT", "BDIA, γ 1", "O-BELM"):
                yield obeyed(family, steps, scale) < obeyed("DDIM", steps, scale) - 0.1


def a_smaller_gamma_heals() -> Iterator[bool]:
    for steps in (10, 20):
        yield abs(obeyed("BDIA, γ 0.5", steps, 3.0) - obeyed("DDIM", steps, 3.0)) < 0.05


# --- the others


def certificates_were_tried_on_every_sampler_and_scale() -> Iterator[bool]:
    rows = results("honesty")["rows"]
    yield len(rows) == len(honesty.MAKERS) * 3
    yield from (min(row["samples"], row["exact"]) > 0 for row in rows)
    yield sum(row["samples"] for row in rows) >= 500


def goals_of_certificates_follow_the_file() -> Iterator[bool]:
    rows = results("honesty")["rows"]
    names = ("wrong", "wrong_and_flagged", "bounds", "bounds_off_by_6_db")
    wrong, flagged, bounds, off = (sum(row[name] for row in rows) for name in names)
    page = " ".join((ROOT / RESULTS).read_text().split())
    for part, whole, kind, reached in (
        (flagged, wrong, "other noises", flagged >= 0.95 * wrong),
        (off, bounds, "bounds", off <= 0.01 * bounds),
    ):
        (said,) = re.findall(rf"{part} of the {whole} {kind} \(.*?which is (\S+)\.", page)
        yield said == ("met" if reached else "**missed**")
    yield f"of {len(rows) * 7} random mixtures, up to 8 images" in page


def a_sampler_may_repeat_itself_to_80_db() -> Iterator[bool]:
    yield math.isclose(MOST * SINGLE, 1e-8)
    rows = results("bench")["rows"]
    yield from (row["image_db_worst"] < -80 for row in rows if row["exact"] == 1)


def the_embedded_models_are_good_enough() -> Iterator[bool]:
    measured = results("models")
    yield measured["psnr"] > 30
    yield from (share >= 0.85 for share in measured["prompt_accuracy"].values())


def at_least_45_classes_are_inverted() -> Iterator[bool]:
    rows = results("pipelines")["rows"].values()
    yield len({row["class"] for row in rows if row["outcome"] == "inverted"}) >= 45


FLOW, PAIRS = "book/reference/flow.md", "book/reference/reversible.md"
RESULTS, PIPELINES = "book/reference/results.md", "book/reference/pipelines.md"
BENCH, CARD = "book/reference/bench.ipynb", "invlib/portraits/weights/MODEL_CARD.md"
SENTENCES = [
    Sentence(FLOW, "**No rival is exact anywhere**", no_rival_is_exact),
    Sentence(FLOW, "comes nearest to the image", uni_inv_is_nearest_on_eulers_images),
    Sentence(FLOW, "come much nearer than on Euler's", rivals_are_nearer_on_their_own_samplers),
    Sentence(FLOW, "as far from the true one as a random draw", rf_inversion_finds_a_random_noise),
    Sentence(FLOW, "**Ours is exact** on every image", ours_is_exact_but_at_the_largest_scale),
    Sentence(
        FLOW,
        "two to about two hundred times the evaluations",
        ours_costs_two_to_about_two_hundred_times_a_rival,
    ),
    Sentence(FLOW, "end nearer to the true noise", rivals_end_nearer_to_eulers_noise),
    Sentence(
        FLOW, "most of the true noise comes back", second_order_samplers_give_the_true_noise_back
    ),
    Sentence(
        FLOW,
        "on one image of four where it does",
        at_the_largest_scale_one_image_of_four_fails_at_times,
    ),
    Sentence(
        RESULTS, "only the likelihood names the true", without_guidance_only_the_likelihood_tells
    ),
    Sentence(
        RESULTS,
        "the lead is more than ten times as large",
        with_guidance_the_density_tells_and_the_lead_is_larger,
    ),
    Sentence(PAIRS, "give back the noise to the round-off of float64", pairs_give_back_the_noise),
    Sentence(
        PAIRS, "until the noise is lost altogether", small_gamma_loses_the_noise_in_many_steps
    ),
    Sentence(
        PAIRS, "this noise makes *another* image", the_image_alone_gives_another_noise_and_image
    ),
    Sentence(PAIRS, "error growth (at least)", errors_grow_by_at_least_the_bound),
    Sentence(PAIRS, "all samplers obey alike", without_guidance_all_obey_alike),
    Sentence(PAIRS, "lose the colours that DDIM keeps", with_guidance_pairs_lose_colours),
    Sentence(PAIRS, "A smaller γ heals BDIA at moderate", a_smaller_gamma_heals),
    Sentence(
        RESULTS, "tables honesty` measures it", certificates_were_tried_on_every_sampler_and_scale
    ),
    Sentence(RESULTS, "other noises (", goals_of_certificates_follow_the_file),
    Sentence(RESULTS, "to that level, up to -80 dB.", a_sampler_may_repeat_itself_to_80_db),
    Sentence(BENCH, "repeats its image, up to -80 dB;", a_sampler_may_repeat_itself_to_80_db),
    Sentence(CARD, "Prompt accuracy at CFG 3", the_embedded_models_are_good_enough),
    Sentence(PIPELINES, "pipeline classes:", at_least_45_classes_are_inverted),
]


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda s: s.holds.__name__)
def test_a_sentence_of_a_page_holds(sentence: Sentence) -> None:
    page = " ".join((ROOT / sentence.page).read_text().split())
    assert sentence.text in page
    answers = [*sentence.holds()]
    assert answers and all(answers)
