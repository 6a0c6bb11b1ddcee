import pytest

from roles.problems.pocket.corpus import Program, borders, composition, make_corpus, misconception_rate
from roles.problems.pocket.mutants import guarded
from roles.problems.pocket.pipeline import PRIMITIVES, START_WEIGHTS, Pipeline, Stage
from roles.problems.pocket.screen import fingerprint, outputs, probes


@pytest.fixture(scope="module")
def corpus() -> list[Program]:
    return make_corpus(3, 400)


def test_the_corpus_shows_only_pairs_of_training_problems_and_no_held_out_function(corpus):
    limits = borders()
    for program in corpus:
        assert program.pipeline.pairs <= limits.pairs
        assert fingerprint(program.pipeline.source, outputs(program.pipeline)) not in limits.forbidden


def test_about_half_of_the_corpus_is_wrong_and_it_says_which_half(corpus):
    for program in corpus:
        arguments = [a if program.pipeline.uses_k else a[:1] for a in probes(program.pipeline.source)]
        solve = guarded(program.prompt + program.body)
        agrees = [repr(solve(*a)) == repr(program.pipeline(*a)) for a in arguments]
        assert all(agrees) != program.wrong
    shares = composition(corpus)
    assert shares["programs"] == 400
    assert 0.4 < shares["wrong by execution"] < 0.6
    assert 0.35 < shares["with a misconception"] < 0.6
    assert 0.05 < shares["randomly mutated"] < 0.15


def test_a_misconception_strikes_at_the_rate_of_its_primitive():
    rates = [misconception_rate(name) for name, item in PRIMITIVES.items() if item.mistake]
    assert len(rates) >= 45
    assert min(rates) >= 0.1 and max(rates) <= 0.6
    assert all(misconception_rate(name) == 0 for name, item in PRIMITIVES.items() if not item.mistake)


def test_every_misconception_is_another_function_than_the_primitive():
    for item in PRIMITIVES.values():
        if item.mistake and item.source in START_WEIGHTS:
            constant = item.constants[-1] if item.constants else None
            right = Pipeline(item.source, (Stage(item.name, constant),))
            wrong = Pipeline(item.source, (Stage(item.name, constant, mistaken=True),))
            assert outputs(right) != outputs(wrong), item.name


def test_the_corpus_of_a_seed_is_the_same_for_any_number_of_workers(corpus):
    assert make_corpus(3, 400, workers=2) == corpus
    assert make_corpus(4, 100) != corpus[:100]
