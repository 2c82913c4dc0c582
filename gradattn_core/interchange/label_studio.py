"""Suspects as tasks of Label Studio, with the suggested label annotated already, and its annotations back.

Source: Label Studio, "Basic Label Studio JSON format" and "Import pre-annotated data", labelstud.io/guide/tasks and
/guide/predictions: a list of tasks with ``data``, ``predictions`` and, exported, ``annotations``; and "JSON_MIN",
/guide/export, whose objects have the keys of ``data`` and of the controls on one level.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from gradattn_core.dataset.address import is_url
from gradattn_core.dataset.decoding import decode_image
from gradattn_core.errors import GradattnError, StoreError
from gradattn_core.interchange.handed import Handed, Known, Left, unchanged, written
from gradattn_core.interchange.sheets import claim_of_label
from gradattn_core.store.claims import Claim

# None of them is a name in the data of a task, beside which JSON_MIN puts them.
_LABEL, _VERDICT, _NOTE = "label", "verdict", "comment"
_VERDICTS = ("remove", "unsure")
_SERVED = "/data/local-files/?d="
_EMBEDDED_SIDE = 1024


def labelling_config(classes: Sequence[str]) -> str:
    """The labelling interface of a project for :func:`tasks`, as XML."""
    choices = "\n".join(f"    <Choice value={quoteattr(_choice(label))}/>" for label in classes)
    verdicts = "".join(f'<Choice value="{verdict}"/>' for verdict in _VERDICTS)
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        '  <Header value="Which class is it?"/>\n'
        f'  <Choices name="{_LABEL}" toName="image" choice="single" showInline="true">\n{choices}\n  </Choices>\n'
        '  <Header value="None of them, or nobody knows?"/>\n'
        f'  <Choices name="{_VERDICT}" toName="image" choice="single" showInline="true">{verdicts}</Choices>\n'
        f'  <TextArea name="{_NOTE}" toName="image" maxSubmissions="1" placeholder="Note"/>\n</View>\n'
    )


def tasks(
    images: Sequence[Handed], audit_id: str, *, url_prefix: str | None = None, embed: bool = False
) -> tuple[bytes, int, list[Left]]:
    """The tasks as JSON, how many there are, and what is left out.

    A picture is served by Label Studio from this machine's disk (its local files with the document root ``/``); where
    it is no file of this disk, or with ``embed``, it is in the task itself, at most 1,024 pixels wide and high.

    Args:
        url_prefix: instead, the address below which the dataset's pictures lie.
    """
    made: list[dict[str, object]] = []
    left: list[Left] = []
    for image in images:
        try:
            address = _address(image, url_prefix, embed)
        except (GradattnError, OSError) as error:
            left.append(Left(image.path, str(error)))
            continue
        data: dict[str, object] = {"image": address, **image.facts()}
        made.append({"data": data, "predictions": [_prediction(image, audit_id)]})
    return json.dumps(made, ensure_ascii=False, indent=1).encode(), len(made), left


def claims_of_tasks(file: Path, tasks: Sequence[Mapping[str, object]], known: Known) -> list[Claim]:
    """What annotators said; a prediction that nobody submitted says nothing, and neither does a skipped task.

    Raises:
        StoreError: where a task is none of ours, or an annotation says two things.
    """
    claims, labels = [], known.read_by(_choice)
    for number, task in enumerate(tasks, 1):
        where = f"{file}, task {task.get('id', number)}"
        data = task.get("data")
        facts = data if isinstance(data, Mapping) else task
        path = facts.get("path")
        if not isinstance(path, str):
            raise StoreError(f"{where} has no path in its data; it was not made by gradattn export label-studio")
        # What the label was when the task was made: the dataset may have changed since.
        stood = facts.get("given_label")
        given = stood if isinstance(stood, str) else known.labels.get(path, "")
        annotations = task.get("annotations", ()) if isinstance(data, Mapping) else [task]
        for annotation in annotations if isinstance(annotations, Sequence) else ():
            if isinstance(annotation, Mapping) and not annotation.get("was_cancelled"):
                said = _results(where, annotation) if isinstance(data, Mapping) else _flat(annotation)
                claim = _claim(where, path, said, _annotator(annotation), given, labels)
                if claim is not None:
                    claims.append(claim)
    return claims


def is_tasks(objects: Sequence[Mapping[str, object]]) -> bool:
    """Whether JSON objects are tasks, in either of the two forms."""
    first = objects[0] if objects else {}
    return ("data" in first and ("annotations" in first or "predictions" in first)) or "annotation_id" in first


def _address(image: Handed, url_prefix: str | None, embed: bool) -> str:
    if url_prefix is not None:
        return url_prefix.rstrip("/") + "/" + quote(image.path)
    address, kept = image.place.address, image.place.preview
    # Nobody may judge another picture than the one that the answer is about.
    data = unchanged(image.place) if kept is None else kept.read_bytes()
    if not embed and not is_url(address) and Path(address).is_file():
        return _SERVED + quote(str(Path(address).absolute()).lstrip("/"))
    picture = decode_image(data, PurePosixPath(kept or address).name, white=image.place.white).image
    picture.thumbnail((_EMBEDDED_SIDE, _EMBEDDED_SIDE))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


def _prediction(image: Handed, audit_id: str) -> dict[str, object]:
    control, choice = (_LABEL, _choice(image.suggested_label)) if image.suggested_label else (_VERDICT, "remove")
    result = {"from_name": control, "to_name": "image", "type": "choices", "value": {"choices": [choice]}}
    return {"model_version": f"gradattn {audit_id}", "score": image.suggested_probability, "result": [result]}


def _choice(label: str) -> str:
    """A class as a choice: as it is where an attribute of XML can hold it exactly."""
    return label if label.isprintable() and label == label.strip() and label else written(label)


def _claim(
    where: str, path: str, said: Mapping[str, str], reviewer: str, given: str, labels: Mapping[str, str]
) -> Claim | None:
    note = said.get(_NOTE)
    if _VERDICT in said and _LABEL in said:
        raise StoreError(f"{where} says both {said[_LABEL]!r} and {said[_VERDICT]!r}; leave one of them")
    if _VERDICT in said:
        return Claim(where, path, said[_VERDICT], "", reviewer, note, given)
    if _LABEL in said:
        # Somebody has submitted it, so a label that stays is right.
        label = labels.get(said[_LABEL], said[_LABEL])
        return claim_of_label(where, path, given, label, reviewer=reviewer, note=note, all_reviewed=True)
    return None


def _results(where: str, annotation: Mapping[str, object]) -> dict[str, str]:
    """The choices of one annotation, by control.

    Raises:
        StoreError: where there are several of one control.
    """
    said: dict[str, str] = {}
    results = annotation.get("result")
    for result in results if isinstance(results, Sequence) else ():
        value = result.get("value") if isinstance(result, Mapping) else None
        if isinstance(value, Mapping):
            texts = value.get("choices") or value.get("text")
            name = str(result.get("from_name"))
            every = [texts] if isinstance(texts, str) else texts if isinstance(texts, list) else []
            if name in (_LABEL, _VERDICT) and (len(every) > 1 or (every and said.get(name, every[0]) != every[0])):
                raise StoreError(f"{where} has several choices of {name}; leave one of them")
            if name in (_LABEL, _VERDICT, _NOTE) and every:
                said[name] = str(every[0])
    return said


def _flat(task: Mapping[str, object]) -> dict[str, str]:
    """The choices of one object of JSON_MIN."""
    return {name: text for name in (_LABEL, _VERDICT, _NOTE) if isinstance(text := task.get(name), str) and text}


def _annotator(annotation: Mapping[str, object]) -> str:
    by = annotation.get("completed_by", annotation.get("annotator"))
    if isinstance(by, Mapping):
        by = by.get("email") or by.get("id")
    return "" if by is None else by if isinstance(by, str) else f"Label Studio user {by}"
