"""There and back through the tools themselves: each reads what we write, changes it, and we read what it writes."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gradattn_core.cli import main
from gradattn_core.dataset.decoding import content_hash, read_address
from gradattn_core.interchange.fiftyone_folder import on_picture
from gradattn_core.interchange.handed import digest_of, handed, picture_of, written
from gradattn_core.interchange.label_studio import labelling_config, tasks
from gradattn_core.store.store import Store
from tests.helpers.command_line import json_here
from tests.helpers.hostile import HOSTILE
from tests.helpers.pictured_audit import AUDIT_ID, CLASSES, MISSING, copied_store, path_of
from tests.helpers.tools import run_with

RELABELLED, KEPT, REMOVED = path_of(0), path_of(1), path_of(2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return copied_store(tmp_path)


def export(store: Store, form: str, target: Path, *more: str) -> dict[str, object]:
    answer: dict[str, object] = json_here("export", form, "-o", target, *more, out=store.directory)
    return answer


def take_over(store: Store, file: Path, *more: str) -> dict[str, object]:
    answer: dict[str, object] = json_here("import", "decisions", file, *more, out=store.directory)
    return answer


def given(store: Store) -> dict[str, str]:
    page = store.candidates.page(AUDIT_ID)
    return dict(zip(page["path"], page["given_label"], strict=True))


def other(label: str) -> str:
    return CLASSES[(CLASSES.index(label) + 3) % len(CLASSES)]


def standing(store: Store) -> dict[str, tuple[str, str, str]]:
    log = store.decisions.page(standing=True)
    facts = zip(log["path"], log["decision"], log["new_label"], log["reviewer"], strict=True)
    return {path: (decision, new_label, reviewer) for path, decision, new_label, reviewer in facts}


_LABEL_STUDIO = """
import json, sys
from label_studio_sdk.label_interface import LabelInterface
from label_studio_sdk.converter import Converter
tasks, config = json.load(open(sys.argv[1])), open(sys.argv[2]).read()
changes = json.load(open(sys.argv[3]))
interface = LabelInterface(config)
interface.validate()
exported = []
for number, task in enumerate(tasks, 1):
    assert interface.validate_task({"data": task["data"]}), task
    for prediction in task["predictions"]:
        assert interface.validate_prediction(prediction, return_errors=True) == [], prediction
    path = task["data"]["path"]
    annotations = []
    if path in changes:
        control, choice = changes[path]
        assert choice in interface.get_control(control).labels
        result = [{"id": "r1", "from_name": control, "to_name": "image", "type": "choices",
                   "value": {"choices": [choice]}}]
        annotations = [{"id": number, "result": result, "was_cancelled": False,
                        "completed_by": {"id": 7, "email": "ann@example.org"}}]
        assert interface.validate_annotation(annotations[0]), annotations
    exported.append({"id": number, **task, "annotations": annotations})
json.dump(exported, open("export.json", "w"))
converter = Converter(config=config, project_dir=None, download_resources=False)
annotated = [task for task in exported if task["annotations"]]
json.dump(annotated, open("annotated.json", "w"))
converter.convert_to_json_min("annotated.json", "minimal", is_dir=False)
"""


def test_label_studio(store: Store, tmp_path: Path) -> None:
    labels, tasks = given(store), tmp_path / "tasks.json"
    answer = export(store, "label-studio", tasks)
    config = tmp_path / "interface.xml"
    config.write_text(str(answer["interface"]), "utf-8")
    assert (answer["written"], len(answer["left_out"])) == (11, 1)  # type: ignore[arg-type]
    page = store.candidates.page(AUDIT_ID).set_index("path")
    for task in json.loads(tasks.read_text("utf-8")):
        data, [prediction] = task["data"], task["predictions"]
        row = page.loc[data["path"]]
        assert prediction["result"][0]["value"]["choices"] == [row["suggested_label"]] == [data["suggested_label"]]
        assert data["given_label"] == row["given_label"] and data["suspicion"] == row["suspicion"]
        assert data["image"].startswith("/data/local-files/?d=tmp/")
    changes = {
        RELABELLED: ("label", other(labels[RELABELLED])),
        KEPT: ("label", labels[KEPT]),
        REMOVED: ("verdict", "remove"),
    }
    said = tmp_path / "changes.json"
    said.write_text(json.dumps(changes), "utf-8")
    run_with("label_studio_sdk", _LABEL_STUDIO, tasks, config, said, cwd=tmp_path)
    back = take_over(store, tmp_path / "export.json")
    assert (back["format"], back["stored"]) == ("Label Studio", 3)
    who = "ann@example.org"
    wanted = {
        RELABELLED: ("relabel", other(labels[RELABELLED]), who),
        KEPT: ("keep", "", who),
        REMOVED: ("remove", "", who),
    }
    assert standing(store) == wanted
    minimal = tmp_path / "minimal" if (tmp_path / "minimal").is_file() else next((tmp_path / "minimal").iterdir())
    again = take_over(store, minimal, "--reviewer", who)
    assert (again["format"], again["stored"], again["known"]) == ("Label Studio", 0, 3)


_DATUMARO = """
import json, sys, zipfile, shutil
import datumaro as dm
form, source, changes = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3]))
zipfile.ZipFile(source).extractall("unpacked")
data = dm.Dataset.import_from("unpacked", form)
categories = data.categories()[dm.AnnotationType.label]
said = {}
for item in data:
    [label] = item.annotations
    said[item.id.split(":")[-1]] = categories[label.label].name
    for name, to in changes.items():
        if name in item.id:
            number = categories.find(to)[0]
            item.annotations[0] = dm.Label(number)
            data.put(item)
data.export("exported", form, save_media=form == "imagenet")
shutil.make_archive("back", "zip", "exported")
print(json.dumps(said))
"""


@pytest.mark.parametrize(("form", "more"), [("imagenet", ()), ("imagenet_txt", ("--no-pictures",))])
def test_cvat(store: Store, tmp_path: Path, form: str, more: tuple[str, ...]) -> None:
    """CVAT reads and writes ImageNet by Datumaro."""
    labels, target, said = given(store), tmp_path / "suspects.zip", tmp_path / "changes.json"
    assert export(store, "cvat", target, *more)["written"] == 11
    said.write_text(json.dumps({digest_of(RELABELLED): written(other(labels[RELABELLED]))}), "utf-8")
    seen = json.loads(run_with("datumaro", _DATUMARO, form, target, said, cwd=tmp_path))
    assert sorted(seen.values()) == sorted(written(label) for path, label in labels.items() if path != MISSING)
    # A label that nobody has changed says nothing, unless somebody says that all were looked at.
    back = take_over(store, tmp_path / "back.zip", "--reviewer", "ann")
    assert (back["format"], back["stored"]) == ("ImageNet of CVAT", 1)
    assert standing(store) == {RELABELLED: ("relabel", other(labels[RELABELLED]), "ann")}
    assert take_over(store, tmp_path / "back.zip", "--reviewer", "ann", "--all-reviewed")["stored"] == 10


_DATASETS = """
import sys
import datasets
data = datasets.load_dataset("imagefolder", data_dir=sys.argv[1], split="train")
assert isinstance(data.features["image"], datasets.Image) and data[0]["image"].size[0] > 10
assert data.column_names[0] == "image"
path, label = sys.argv[2:]
data = data.map(lambda row: {"label": label if row["path"] == path else row["label"]})
data.to_parquet("pushed.parquet")
print(len(data))
"""


def test_hugging_face(store: Store, tmp_path: Path) -> None:
    labels, target = given(store), tmp_path / "suspects"
    store.decisions.append(AUDIT_ID, KEPT, "keep", reviewer="bob", note="=note")
    assert export(store, "huggingface", target)["written"] == 11
    to = other(labels[RELABELLED])
    assert run_with("datasets", _DATASETS, target, RELABELLED, to, cwd=tmp_path).strip().endswith("11")
    back = take_over(store, tmp_path / "pushed.parquet", "--reviewer", "ann")
    assert (back["stored"], back["known"]) == (1, 1)
    assert standing(store) == {RELABELLED: ("relabel", to, "ann"), KEPT: ("keep", "", "bob")}
    # What was written comes back as nothing new.
    assert take_over(store, target, "--reviewer", "ann")["stored"] == 0


_PYCOCOTOOLS = """
import json, sys
from pycocotools.coco import COCO
coco = COCO(sys.argv[1])
path, label = sys.argv[2:]
categories = {each["name"]: each["id"] for each in coco.loadCats(coco.getCatIds())}
assert len(coco.getAnnIds()) == len(coco.getImgIds()) == 12
[image] = [image for image in coco.loadImgs(coco.getImgIds()) if image["file_name"] == path]
[annotation] = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
assert annotation["id"] in coco.getAnnIds(catIds=[annotation["category_id"]]) and "bbox" not in annotation
annotation["category_id"] = categories[label]
json.dump(coco.dataset, open("back.json", "w"))
"""


def test_coco(store: Store, tmp_path: Path) -> None:
    labels, target = given(store), tmp_path / "suspects.json"
    store.decisions.append(AUDIT_ID, KEPT, "keep", reviewer="bob")
    export(store, "coco", target)
    content = json.loads(target.read_text("utf-8"))
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert sorted(names.values()) == sorted(CLASSES)
    of_image = {each["image_id"]: names[each["category_id"]] for each in content["annotations"]}
    assert {image["file_name"]: of_image[image["id"]] for image in content["images"]} == labels
    to = other(labels[RELABELLED])
    run_with("pycocotools", _PYCOCOTOOLS, target, RELABELLED, to, cwd=tmp_path)
    back = take_over(store, tmp_path / "back.json", "--reviewer", "ann")
    assert (back["format"], back["stored"], back["known"]) == ("COCO", 1, 1)
    assert standing(store) == {RELABELLED: ("relabel", to, "ann"), KEPT: ("keep", "", "bob")}


_FIFTYONE = """
import json, sys
import numpy as np
import fiftyone as fo
from bson import json_util
from fiftyone.utils.data.importers import FiftyOneDatasetImporter
importer = FiftyOneDatasetImporter(sys.argv[1])
assert importer._is_legacy_format_data()
samples = []
relabelled, to, removed = sys.argv[2:]
with importer._to_legacy_importer() as read:
    for sample in read:
        assert isinstance(sample.ground_truth, fo.Classification) and 0 <= sample.suspicion <= 1
        if sample.evidence is not None:
            assert sample.evidence.map.ndim == 2 and sample.evidence.range[1] >= np.abs(sample.evidence.map).max()
        told = [sample["path"], sample.ground_truth.label, sample.suggested.label, sample.suggested.confidence,
                sample.evidence is not None, sample.kind]
        print(json.dumps(told))
        if sample["path"] == relabelled:
            sample.ground_truth.label = to
        if sample["path"] == removed:
            sample.tags.append("remove")
        samples.append(sample.to_mongo_dict())
open("samples.json", "w").write(json_util.dumps({"samples": samples}))
"""


def test_fiftyone(store: Store, tmp_path: Path) -> None:
    labels, target = given(store), tmp_path / "suspects"
    store.decisions.append(AUDIT_ID, KEPT, "keep", reviewer="bob")
    assert export(store, "fiftyone", target)["written"] == 11
    to = other(labels[RELABELLED])
    said = run_with("fiftyone", _FIFTYONE, target, RELABELLED, to, REMOVED, cwd=tmp_path)
    told = {path: facts for path, *facts in map(json.loads, said.splitlines())}
    page = store.candidates.page(AUDIT_ID).set_index("path")
    images = {image.path: image for image in handed(store, AUDIT_ID, store.candidates.page(AUDIT_ID))}
    for path, (label, suggested, confidence, has_map, kind) in told.items():
        assert (label, suggested) == (labels[path], page["suggested_label"][path])
        assert confidence == images[path].suggested_probability and kind == page["kind"][path]
        assert has_map == (store.images.evidence(AUDIT_ID, path) is not None)
    back = take_over(store, tmp_path / "samples.json", "--reviewer", "ann")
    assert (back["format"], back["stored"], back["known"]) == ("FiftyOne", 2, 1)
    wanted = {RELABELLED: ("relabel", to, "ann"), REMOVED: ("remove", "", "ann"), KEPT: ("keep", "", "bob")}
    assert standing(store) == wanted
    assert take_over(store, target, "--reviewer", "ann")["stored"] == 0


def test_every_label_is_written_so_that_it_is_known_again() -> None:
    labels = [*HOSTILE, "a/b", "a%2Fb", "a%252Fb", "..", ".", "no_label", "Cat", "cat", " cat", "cat ", "x" * 300]
    forms = [written(label) for label in labels]
    assert len(set(forms)) == len(labels)
    for form in forms:
        assert form == form.strip() and len(form.encode()) <= 160
        assert not set("/\\\"'<>:|?*\n\r\t\0") & set(form.replace("'", "")) and form not in (".", "..")
    assert written("bald eagle") == "bald eagle" and written("アフリカ象") == "アフリカ象"
    config = labelling_config(labels)
    assert config.count("<Choice ") == len(labels) + 2


def test_what_cannot_be_read_back_is_one_sentence(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = handed(store, AUDIT_ID, store.candidates.page(AUDIT_ID))[0].name
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for label in ("kite", "owl"):
            archive.writestr(f"{label}/{name}.png", b"")
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as archive:
        archive.writestr("kite/other.png", b"")
    with zipfile.ZipFile(tmp_path / "sheet.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", b"")
    whole = (tmp_path / "two.zip").read_bytes()
    (tmp_path / "torn.zip").write_bytes(whole.replace(b"PK\x01\x02", b"XXXX"))
    choices = {"from_name": "label", "value": {"choices": ["kite", "owl"]}}
    task = {"data": {"path": RELABELLED}, "annotations": [{"result": [choices]}]}
    (tmp_path / "both.json").write_text(json.dumps([task]))
    (tmp_path / "ids.json").write_text('{"images": [{"id": {}}], "annotations": [], "categories": []}')
    odd = {"from_name": "label", "value": {"choices": {"a": 1}}}
    (tmp_path / "odd.json").write_text(json.dumps([{**task, "annotations": [{"result": [odd]}]}]))
    (tmp_path / "task.json").write_text('[{"data": {"image": "x"}, "annotations": []}]')
    (tmp_path / "coco.json").write_text('{"images": [], "annotations": [{"image_id": 1}], "categories": []}')
    (tmp_path / "empty").mkdir()
    for file, sentence in {
        "two.zip": "has several labels, 'kite', 'owl'; leave one of them",
        "foreign.zip": "the audit has no such picture",
        "torn.zip": "is a damaged zip",
        "both.json": "has several choices of label; leave one of them",
        "ids.json": "one of its images has no file_name",
        "odd.json": "a prediction alone says nothing",
        "sheet.xlsx": "save it as CSV in UTF-8",
        "task.json": "has no path in its data",
        "coco.json": "names an image or a category that the file does not have",
        "empty": "has neither samples.json of FiftyOne nor metadata.parquet of Hugging Face",
        "absent": "cannot read",
    }.items():
        arguments = ["import", "decisions", str(tmp_path / file), "--reviewer", "ann", "--out", str(store.directory)]
        assert main(arguments) == 2
        assert sentence in capsys.readouterr().err
    assert store.decisions.count() == 0


def test_a_folder_that_is_there_is_left_alone(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    (target / "letter").write_text("dear")
    for form in ("fiftyone", "huggingface"):
        assert main(["export", form, "-o", str(target), "--out", str(store.directory)]) == 2
        assert "is there already and not empty" in capsys.readouterr().err
    assert [file.name for file in target.iterdir()] == ["letter"] and not list(tmp_path.glob(".mine*"))


def test_a_folder_in_the_place_of_a_file_is_one_sentence(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for arguments in (["export", "coco"], ["export", "cvat"], ["export", "fiftyone"], ["export", "--format", "csv"]):
        for target in (".", "/"):
            assert main([*arguments, "-o", target, "--out", str(store.directory)]) == 2
            said = capsys.readouterr().err
            assert "is a folder" in said or "is there already" in said
    assert not list((tmp_path / "here").iterdir())


def test_a_picture_that_has_changed_is_no_task(store: Store, tmp_path: Path) -> None:
    """Else an answer about another picture would be kept as one about this."""
    [image] = handed(store, AUDIT_ID, store.candidates.page(AUDIT_ID, top=1))
    changed = tmp_path / "changed.png"
    Image.new("RGB", (8, 8)).save(changed)
    moved = replace(image, place=replace(image.place, address=str(changed)))
    for embed in (False, True):
        content, count, [left] = tasks([moved, image], AUDIT_ID, embed=embed)
        assert (count, len(json.loads(content)), left.path) == (1, 1, image.path) and "has changed" in left.reason


def test_a_task_of_one_s_own_pictures_comes_back_by_their_paths(store: Store, tmp_path: Path) -> None:
    labels = given(store)
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        archive.writestr(f"{written(other(labels[RELABELLED]))}/{RELABELLED}", b"")
        archive.writestr(f"{written(labels[KEPT])}/{KEPT}", b"")
        archive.writestr(f"no_label/{REMOVED}", b"")
    assert take_over(store, tmp_path / "own.zip", "--reviewer", "ann", "--all-reviewed")["stored"] == 2
    wanted = {RELABELLED: ("relabel", other(labels[RELABELLED]), "ann"), KEPT: ("keep", "", "ann")}
    assert standing(store) == wanted


def test_a_label_that_was_changed_wins_over_what_was_decided_before(store: Store, tmp_path: Path) -> None:
    labels, target = given(store), tmp_path / "suspects"
    to = [label for label in CLASSES if label != labels[KEPT]]
    store.decisions.append(AUDIT_ID, KEPT, "relabel", new_label=to[0], reviewer="bob", note="of bob's")
    export(store, "huggingface", target)
    rows = pq.read_table(target / "metadata.parquet").to_pylist()
    for row in rows:
        row["label"] = to[1] if row["path"] == KEPT else row["label"]
    pq.write_table(pa.Table.from_pylist(rows), target / "metadata.parquet")
    back = take_over(store, target, "--reviewer", "ann")
    assert (back["stored"], back["differing"]) == (1, [KEPT])
    assert standing(store) == {KEPT: ("relabel", to[1], "ann")}
    assert store.decisions.page(reviewer="ann")["note"].tolist() == [""]
    # Of Label Studio's flat form, what was handed out is no word of the annotator's.
    task = {"path": KEPT, "note": "of bob's", "decision": "relabel", "label": to[2], "annotator": "eve"}
    (tmp_path / "flat.json").write_text(json.dumps([{**task, "annotation_id": 1, "comment": "seen"}]), "utf-8")
    assert take_over(store, tmp_path / "flat.json")["stored"] == 1
    log = store.decisions.page(reviewer="eve")
    assert (log["new_label"][0], log["note"][0]) == (to[2], "seen")


def test_the_numbers_of_a_class_label_are_read_by_their_names(store: Store, tmp_path: Path) -> None:
    """Hugging Face writes a cast label as numbers, with the names in the schema."""
    labels, target = given(store), tmp_path / "suspects"
    export(store, "huggingface", target)
    rows = pq.read_table(target / "metadata.parquet").to_pylist()
    to = other(labels[RELABELLED])
    names = sorted({*labels.values(), to})
    for row in rows:
        row["label"] = names.index(to if row["path"] == RELABELLED else row["label"])
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(told), target / "metadata.parquet")
    assert take_over(store, target, "--reviewer", "ann")["stored"] == 1
    assert standing(store) == {RELABELLED: ("relabel", to, "ann")}


@pytest.mark.parametrize("form", ["label-studio", "fiftyone", "huggingface", "coco"])
def test_what_was_handed_out_before_the_labels_changed_is_refused(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """Its labels, given ones then, would all look as if somebody had changed them."""
    labels, target = given(store), tmp_path / "handed"
    export(store, form, target)
    file, before = target, labels[RELABELLED]
    if form == "label-studio":
        tasks = json.loads(target.read_text("utf-8"))
        said = [{"from_name": "label", "type": "choices", "value": {"choices": [before]}}]
        [task] = [task for task in tasks if task["data"]["path"] == RELABELLED]
        file.write_text(json.dumps([{**task, "annotations": [{"result": said}]}]), "utf-8")
    with duckdb.connect(str(store.database)) as connection:
        connection.execute("UPDATE images SET given_label = ? WHERE path = ?", [other(before), RELABELLED])
    arguments = ["import", "decisions", str(file), "--reviewer", "ann", "--out", str(store.directory)]
    if form == "label-studio":
        capsys.readouterr()
        assert main(arguments) == 2
        assert "the file is of another state of the dataset" in capsys.readouterr().err
    else:
        # Nobody said anything in it.
        capsys.readouterr()
        assert main(arguments) == 2
        assert "has no decision in it" in capsys.readouterr().err
        assert main([*arguments, "--all-reviewed"]) == 2
        assert "the file is of another state of the dataset" in capsys.readouterr().err
    assert store.decisions.count() == 0


def test_a_box_is_handed_out_as_what_it_shows(store: Store) -> None:
    one = handed(store, AUDIT_ID, store.candidates.page(AUDIT_ID, top=1))[0]
    file = one.place.address
    address = f"boxes://0/10,20,100,50::{file}"
    place = replace(one.place, address=address, content_hash=content_hash(read_address(address)))
    data, ending = picture_of(replace(one, place=place))
    cut = Image.open(io.BytesIO(data))
    assert ending == ".png" and cut.size == (100, 50)
    assert cut.convert("RGB").tobytes() == Image.open(file).crop((10, 20, 110, 70)).tobytes()


def test_maps_lie_over_the_whole_picture(store: Store) -> None:
    evidence = store.images.evidence(AUDIT_ID, path_of(0))
    assert evidence is not None
    values = on_picture(evidence, 320, 240)
    assert values.shape == (84, 112)
    # The crop is the centred square of 240 pixels, 84 of these 112 columns.
    assert not values[:, :14].any() and not values[:, -14:].any()
    inside = values[:, 14:-14].reshape(7, 12, 7, 12)
    np.testing.assert_array_equal(inside, np.broadcast_to(evidence.scores[:, None, :, None], inside.shape))
