"""JUnit XML of some scenario lines: ``error`` is an error, what is not as expected a failure.

What does not comply and is on record is skipped with what is on record, so that a reader sees a red test only where
something is new; the word is a property of each case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as xml

from matrix.lines import ScenarioLine
from matrix.report.loose import objects
from matrix.results.text import clean
from matrix.words import NOT_VERDICTS

NOT_XML = re.compile("[\ufffe\uffff]")  # what ``clean`` leaves and XML 1.0 forbids


def junit(suites: Iterable[tuple[str, Iterable[ScenarioLine]]]) -> bytes:
    """The document of these suites: each a name (a cell) and its scenario lines."""
    root = xml.Element("testsuites")
    for name, lines in suites:
        cases = [_case(name, line) for line in lines]
        kinds = [child.tag for case in cases for child in case]
        counts = {"failures": "failure", "errors": "error", "skipped": "skipped"}
        numbers = {key: str(kinds.count(kind)) for key, kind in counts.items()}
        about = {"name": xml_text(name), "tests": str(len(cases))}
        xml.SubElement(root, "testsuite", about | numbers).extend(cases)
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(root, encoding="utf-8") + b"\n"


def xml_text(value: Any) -> str:
    """Foreign text that an XML document may hold."""
    return NOT_XML.sub("?", clean(value))


def _case(suite: str, line: ScenarioLine) -> xml.Element:
    name = xml_text(f"{line['scenario']} {line.get('title') or ''}")
    case = xml.Element("testcase", classname=xml_text(suite), name=name)
    if isinstance(line.get("seconds"), (int, float)):
        case.set("time", f"{line['seconds']:.3f}")
    verdict = line["verdict"]
    word, reason = line.get("remedy") or verdict, xml_text(line.get("reason") or "")
    properties = xml.SubElement(case, "properties")
    for key, value in (("verdict", verdict), ("remedy", line.get("remedy")), ("level", line["level"])):
        if value:
            xml.SubElement(properties, "property", name=key, value=xml_text(value))
    expectation = line.get("expectation")
    if verdict == "error":
        xml.SubElement(case, "error", message=reason, type="error")
    elif verdict in NOT_VERDICTS:
        xml.SubElement(case, "skipped", message=f"{verdict}: {reason}")
    elif expectation and expectation["met"] and line["complies"] is False:
        known = xml_text(expectation["reason"] or "")
        xml.SubElement(case, "skipped", message=f"{word}, as expected ({expectation['category']}): {known}")
    elif line["complies"] is False or (expectation and not expectation["met"]):
        failure = xml.SubElement(case, "failure", message=reason, type=word)
        told = [f"{each.get('property')}: {each.get('sentence')}" for each in objects(line.get("violations"))]
        failure.text = "\n".join(map(xml_text, told))
    return case
