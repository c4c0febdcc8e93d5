"""The counters of several workers, and the text that Prometheus reads."""

import re

from pinet_kedro.scoring_server.metrics import Metrics, _escaped

LINE = re.compile(r'([a-z_]+)(?:\{([a-z]+)="((?:[^"\\\n]|\\["\\n])*)"\})? (\S+)')


def test_every_series_has_a_type_before_its_first_line(tmp_path):
    metrics = Metrics(tmp_path / "3-0.counts", ["3"])
    metrics.request(200)
    metrics.request(422)
    metrics.took(0.003)
    metrics.answers("3", [{"fallback": True, "unknown_items": 2}, {}])
    text = metrics.text().decode()
    assert text.endswith("\n")
    helped, typed, names = [], [], []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped.append(line.split(" ")[2])
        elif line.startswith("# TYPE "):
            typed.append(line.split(" ")[2])
            assert helped[-1] == typed[-1]
            assert line.split(" ")[3] in ("counter", "histogram")
        else:
            found = LINE.fullmatch(line)
            assert found, line
            names.append(line.rsplit(" ", 1)[0])
            assert re.sub("_(bucket|sum|count)$", "", found[1]) == typed[-1]
            float(found[4])
    assert len(set(typed)) == len(typed) == 5
    assert len(set(names)) == len(names)
    for line in (
        'pinet_requests_total{status="200"} 1', 'pinet_requests_total{status="other"} 1',
        'pinet_answers_total{version="3"} 2', 'pinet_fallbacks_total{version="3"} 1',
        'pinet_unknown_items_total{version="3"} 2', 'pinet_request_seconds_bucket{le="0.0025"} 0',
        'pinet_request_seconds_bucket{le="0.005"} 1', 'pinet_request_seconds_bucket{le="+Inf"} 1',
        "pinet_request_seconds_sum 0.003", "pinet_request_seconds_count 1",
    ):  # fmt: skip
        assert f"\n{line}\n" in text


def test_a_bound_is_in_its_bucket_and_a_long_time_in_the_last(tmp_path):
    metrics = Metrics(tmp_path / "3-0.counts", ["3"])
    metrics.took(0.005)
    metrics.took(99)
    text = metrics.text().decode()
    for bucket, number in {"0.0025": 0, "0.005": 1, "10.0": 1, "+Inf": 2}.items():
        assert f'{{le="{bucket}"}} {number}\n' in text


def test_workers_and_versions_are_summed_and_a_successor_goes_on(tmp_path):
    first, second = Metrics(tmp_path / "3-0.counts", ["3"]), Metrics(tmp_path / "3-1.counts", ["3"])
    first.request(200)
    second.request(200)
    first.answers("3", [{}])
    successor = Metrics(tmp_path / "3-0.counts", ["3"])
    successor.request(200)
    newer = Metrics(tmp_path / "3-4-0.counts", ["3", "4"])
    newer.answers("4", [{}])
    newer.answers("3", [{}])
    for metrics in (second, successor, newer):
        text = metrics.text().decode()
        assert 'pinet_requests_total{status="200"} 3\n' in text
        assert 'pinet_answers_total{version="3"} 2\n' in text
        assert 'pinet_answers_total{version="4"} 1\n' in text


def test_a_file_that_is_cut_off_begins_anew(tmp_path):
    (tmp_path / "3-0.counts").write_bytes(b"[[")
    metrics = Metrics(tmp_path / "3-0.counts", ["3"])
    metrics.request(200)
    assert b'{status="200"} 1\n' in metrics.text()


def test_label_values_are_escaped():
    assert _escaped('a"b\\c\nd') == r"a\"b\\c\nd"
