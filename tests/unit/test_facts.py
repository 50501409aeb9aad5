from pycaffe_like.facts import Bottom, Reads, facts_of

MAPS, EXTRA, MANY, LAST = Bottom("maps"), Bottom("extra", least=0), Bottom("many", most=None), Bottom("last")


def test_facts_follow_the_positions():
    assert facts_of([MAPS, EXTRA], 1) == [MAPS]
    assert facts_of([MAPS, EXTRA], 2) == [MAPS, EXTRA]
    assert facts_of([Bottom("pair", least=2, most=2), LAST], 3) == [Bottom("pair", least=2, most=2)] * 2 + [
        LAST
    ]


def test_what_a_plan_adds_is_like_the_last():
    assert facts_of([MAPS, LAST], 4) == [MAPS, LAST, LAST, LAST]
    assert facts_of([], 0) == []


def test_facts_behind_one_of_any_number_stand_at_the_end():
    assert facts_of([MANY, LAST], 2) == [MANY, LAST]
    assert facts_of([MAPS, MANY, LAST], 5) == [MAPS, MANY, MANY, MANY, LAST]
    assert facts_of([MAPS, MANY, LAST], 2) == [MAPS, LAST]


def test_reads_name_blobs_or_positions():
    reads = Reads(bottoms=("last", 0), tops=True)
    assert [reads.bottom(index, fact) for index, fact in enumerate([MANY, MANY, LAST])] == [True, False, True]
    assert reads.top(3, LAST)
    assert not Reads().bottom(0, MAPS)
