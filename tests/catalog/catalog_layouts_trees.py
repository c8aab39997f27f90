"""Every shipped entry's corpus in small, in the layout in which it is published, with sound of a tenth of a second or so."""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile as sf

_seeds = itertools.count()


def sound(seconds: float, rate: int = 16000, channels: int = 1) -> np.ndarray[Any, Any]:
    """Noise that is in no other file, (frames, channels)."""
    return np.random.default_rng(next(_seeds)).normal(0, 0.1, (round(seconds * rate), channels)).astype(np.float32)


def encoded(path: str, seconds: float, rate: int = 16000, channels: int = 1) -> bytes:
    """A sound file's bytes, in the format its suffix names."""
    buffer = io.BytesIO()
    form = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "mp3": "MP3"}[path.rpartition(".")[2]]
    sf.write(buffer, sound(seconds, rate, channels), rate, format=form)
    return buffer.getvalue()


class Tree:
    """A folder to be filled."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, data: bytes | str) -> None:
        """A file of these bytes."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data.encode() if isinstance(data, str) else data)

    def sounds(self, *paths: str, seconds: float = 0.6, rate: int = 16000, channels: int = 1) -> None:
        """Sound files of these names."""
        for path in paths:
            self.write(path, encoded(path, seconds, rate, channels))

    def csv(self, path: str, rows: list[dict[str, Any]], delimiter: str = ",") -> None:
        """A table with a header row."""
        buffer = io.StringIO()
        form: dict[str, Any] = {} if delimiter == "," else {"quoting": csv.QUOTE_NONE, "quotechar": None}
        writer = csv.DictWriter(buffer, list(rows[0]), delimiter=delimiter, **form)
        writer.writeheader()
        writer.writerows(rows)
        self.write(path, buffer.getvalue())

    def shard(self, path: str, rows: list[dict[str, Any]], features: dict[str, Any] | None = None) -> None:
        """A Parquet shard, with Hugging Face's description of its columns."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(rows)
        if features:
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, self.root / path, row_group_size=2)


def _words(tree: Tree) -> None:
    rows = [(word, speaker) for word in ("apple", "chair") for speaker in ("en_a", "en-US_boris", "en-US_robert")]
    metadata = [json.dumps({"word": word, "speaker": speaker}) for word, speaker in rows]
    shard = [
        {"audio": {"bytes": encoded("a.flac", 0.3), "path": f"{index}"}, "sampling_rate": 16000, "metadata": one}
        for index, one in enumerate(metadata)
    ]
    tree.shard("words-0.parquet", shard)


def _digits(tree: Tree) -> None:
    tree.sounds(*(f"{digit}_{speaker}_{take}.wav" for digit in (0, 9) for speaker in ("theo", "jackson") for take in (1, 2)), seconds=0.3, rate=8000)


def _librispeech(tree: Tree) -> None:
    tree.sounds("84-121123-0000.wav", "174-50561-0001.flac", "1272-1-0002.flac")
    tree.csv(
        "transcripts.csv",
        [
            {"file": "84-121123-0000.wav", "text": "GO, DO"},
            {"file": "174-50561-0001.flac", "text": "and"},
            {"file": "1272-1-0002.flac", "text": "so"},
        ],
    )


def _librispeech_original(tree: Tree) -> None:
    for subset, speaker, chapter in (("dev-clean", "84", "121123"), ("test-other", "1688", "142285"), ("train-clean-100", "19", "198")):
        folder = f"{subset}/{speaker}/{chapter}"
        tree.sounds(f"{folder}/{speaker}-{chapter}-0000.flac", f"{folder}/{speaker}-{chapter}-0001.flac")
        tree.write(f"{folder}/{speaker}-{chapter}.trans.txt", f"{speaker}-{chapter}-0000 GO  DO YOU\n{speaker}-{chapter}-0001 BUT IN\n")
    tree.write("SPEAKERS.TXT", "84 | F | dev-clean | 8 | Christie")


def _common_voice(tree: Tree) -> None:
    names = [f"common_voice_en_{number}.mp3" for number in range(4)]
    tree.sounds(*(f"clips/{name}" for name in names), "clips/common_voice_en_9.mp3", seconds=1.0, rate=32000)
    rows = [{"client_id": f"id{number}", "path": name, "sentence": f'He said "yes {number}', "up_votes": 2} for number, name in enumerate(names)]
    tree.csv("validated.tsv", rows, "\t")
    tree.csv("invalidated.tsv", [{"client_id": "x", "path": "common_voice_en_9.mp3", "sentence": "no", "up_votes": 0}], "\t")


def _vctk(tree: Tree) -> None:
    for speaker in ("p225", "p226", "s5"):
        for microphone in ("mic1", "mic2"):
            tree.sounds(f"wav48_silence_trimmed/{speaker}/{speaker}_001_{microphone}.flac", rate=48000)
        tree.write(f"txt/{speaker}/{speaker}_001.txt", "Please call Stella.\n")
    tree.write("speaker-info.txt", "ID  AGE\n")


def _speech_commands(tree: Tree) -> None:
    tree.sounds(*(f"{word}/{speaker}_nohash_0.wav" for word in ("yes", "no") for speaker in ("0a7c2a8d", "0b40aa8e", "ffd2ba2f")), seconds=0.5)
    tree.sounds("_background_noise_/running_tap.wav", seconds=2.0)
    tree.write("validation_list.txt", "yes/0a7c2a8d_nohash_0.wav\n")


def _nemo(tree: Tree) -> None:
    tree.sounds("wavs/a.wav", "wavs/b.wav", "wavs/c.flac", seconds=2.0)
    rows = [{"audio_filepath": "/data/wavs/a.wav", "duration": 2.0, "text": "one"}, {"audio_filepath": "wavs/b.wav", "duration": 2.0, "text": "two"}]
    rows += [{"audio_filepath": "/data/wavs/c.flac", "offset": offset, "duration": 0.75, "text": f"part {offset}"} for offset in (1.0, 0.25)]
    tree.write("train_manifest.json", "".join(json.dumps(row) + "\n" for row in rows))


def _stretches(names: tuple[str, ...], seconds: float) -> Callable[[Tree], None]:
    return lambda tree: tree.sounds(*names, seconds=seconds, rate=4000)


def _noise(tree: Tree) -> None:
    metadata = [json.dumps({"noise_type": kind, "clip": str(clip)}) for kind in ("white", "hum") for clip in range(8)]
    tree.shard(
        "noise-0.parquet", [{"audio": {"bytes": encoded("a.flac", 1.2), "path": f"{index}"}, "metadata": one} for index, one in enumerate(metadata)]
    )


def _musan(tree: Tree) -> None:
    tree.sounds("free-sound/noise-free-sound-0000.wav", "sound-bible/noise-sound-bible-0001.wav", seconds=0.9)
    tree.write("free-sound/LICENSE", "noise-free-sound-0000.wav\nPublic Domain\n")


def _demand(tree: Tree) -> None:
    tree.sounds(*(f"{place}/ch{channel:02d}.wav" for place in ("DKITCHEN", "SCAFE") for channel in (1, 2, 16)), seconds=12.0, rate=2000)


def _wham(tree: Tree) -> None:
    tree.sounds(*(f"{part}/01aa010{part}_0.97482_20fo030s_-0.97482.wav" for part in ("tr", "cv", "tt")), seconds=3.4, rate=4000, channels=2)
    tree.write("metadata/noise_meta_tr.csv", "utterance_id,Noise Band\n")


def _esc_50(tree: Tree) -> None:
    names = [f"{fold}-100032-A-0.wav" for fold in range(1, 6)]
    tree.sounds(*(f"audio/{name}" for name in names), seconds=5.0, rate=4000)
    tree.csv(
        "meta/esc50.csv",
        [{"filename": name, "fold": name[0], "target": 0, "category": "dog", "esc10": "True", "src_file": 1, "take": "A"} for name in names],
    )


def _fsd50k(tree: Tree) -> None:
    licences = [
        "http://creativecommons.org/licenses/by/3.0/",
        "http://creativecommons.org/publicdomain/zero/1.0/",
        "http://creativecommons.org/licenses/by-nc/3.0/",
    ]
    for part, first in (("dev", 100), ("eval", 200)):
        names = [str(first + index) for index in range(3)]
        tree.sounds(*(f"FSD50K.{part}_audio/{name}.wav" for name in names), rate=44100)
        tree.csv(f"FSD50K.ground_truth/{part}.csv", [{"fname": name, "labels": "Bark,Dog,Animal", "mids": "/m/05tny_"} for name in names])
        clips = {
            name: {"title": "t.wav", "tags": ["dog"], "license": licence, "uploader": "u"} for name, licence in zip(names, licences, strict=True)
        }
        tree.write(f"FSD50K.metadata/{part}_clips_info_FSD50K.json", json.dumps(clips))
    tree.write("FSD50K.ground_truth/vocabulary.csv", "0,Accelerating,/m/07q2z82\n")


def _rirs_noises(tree: Tree) -> None:
    tree.sounds(
        *(
            f"simulated_rirs/{size}/Room00{room}/Room00{room}-0000{one}.wav"
            for size in ("smallroom", "largeroom")
            for room in (1, 2)
            for one in (1, 2)
        ),
        seconds=0.2,
    )
    real = [
        "RVB2014_type1_rir_largeroom1_far_angla",
        "RWCP_type1_rir_cirline_jr1_imp070",
        "RWCP_type4_rir_p10r",
        "air_type1_air_binaural_aula_carolina_1_1_90_3",
    ]
    tree.sounds(*(f"real_rirs_isotropic_noises/{name}.wav" for name in real), seconds=0.3, channels=2)
    tree.sounds("real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav", "pointsource_noises/noise-free-sound-0000.wav", seconds=0.3)
    tree.write(
        "simulated_rirs/smallroom/rir_list", "--rir-id small-1 --room-id small-1 RIRS_NOISES/simulated_rirs/smallroom/Room001/Room001-00001.wav\n"
    )


def _but(tree: Tree) -> None:
    for room in ("VUT_FIT_L207", "VUT_FIT_C236", "Hotel_SkalskyDvur_Room112"):
        place = f"{room}/MicID01/SpkID01_20170904_S/01"
        tree.sounds(f"{place}/RIR/IR_sweep_15s_45Hzto22kHz_FS16kHz.v00.wav", f"{place}/silence/silence_16kHz.v00.wav", seconds=0.3)
        tree.write(f"{place}/mic_meta.txt", "$EnvMicID\t1\n")


def sofa_file(path: Path, responses: np.ndarray[Any, Any], rate: float = 16000.0) -> None:
    """Responses (measurements, receivers, frames) at azimuths of 10 degrees apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["Data.IR"], file["Data.SamplingRate"] = responses, np.array([rate])
        file["SourcePosition"] = np.stack([10.0 * np.arange(len(responses)), np.zeros(len(responses)), np.ones(len(responses))], axis=1)


def _sofa(*names: str) -> Callable[[Tree], None]:
    def fill(tree: Tree) -> None:
        for name in names:
            sofa_file(tree.root / name, np.moveaxis(sound(0.2, channels=10), 0, 1).reshape(5, 2, -1))

    return fill


def _table_questions(table: str, rows: list[dict[str, Any]], audio: list[str]) -> Callable[[Tree], None]:
    def fill(tree: Tree) -> None:
        tree.sounds(*audio)
        tree.write(table, json.dumps(rows))

    return fill


MMAU = [
    {
        "id": "3fe6",
        "audio_id": "./test-mini-audios/3fe6.wav",
        "question": "Which animal?",
        "choices": ["dog", "cat"],
        "answer": "cat",
        "task": "sound",
    },
    {
        "id": "77aa",
        "audio_id": "./test-mini-audios/77aa.wav",
        "question": "Who speaks?",
        "choices": ["(A) man", "(B) woman"],
        "answer": "(B) woman",
        "task": "speech",
    },
]
MMAR = [
    {
        "id": "a_0",
        "audio_path": "./audio/a_0.wav",
        "question": "How many?",
        "choices": ["two", "three", "four"],
        "answer": "three",
        "modality": "mix-sound-speech",
    },
    {"id": "b_1", "audio_path": "./audio/b_1.wav", "question": "Why?", "choices": ["rain", "wind"], "answer": "rain", "modality": "sound"},
]
AVQA = [
    {
        "id": 183,
        "video_name": "-HG3_30",
        "question_text": "What is heard?",
        "multi_choice": ["motorcycle", "clapper", "bird", "cough"],
        "answer": 1,
        "question_relation": "Audio",
    },
    {
        "id": 184,
        "video_name": "-HG3_30",
        "question_text": "Where?",
        "multi_choice": ["indoors", "outdoors"],
        "answer": 0,
        "question_relation": "Both",
    },
    {
        "id": 185,
        "video_name": "zz_10",
        "question_text": "What is heard?",
        "multi_choice": ["train", "rain", "bird"],
        "answer": 2,
        "question_relation": "Audio",
    },
    {
        "id": 186,
        "video_name": "yy_10",
        "question_text": "What is heard?",
        "multi_choice": ["train", "rain", "cow"],
        "answer": 0,
        "question_relation": "Audio",
    },
]


def _mcr(tree: Tree) -> None:
    for task in ("AQA", "SER", "VSC"):
        tree.sounds(*(f"{task}/audio/{index}.wav" for index in range(3)))
        row = {"faithful": "It is so.", "adversarial": "It is not.", "irrelevant": "Tea.", "neutral": "What is it?"}
        tree.write(
            f"{task}/{task}.json",
            json.dumps([{"audio": f"audio/{index}.wav", "gt": gt, **row} for index, gt in enumerate(("happy", "sad", "angry"))]),
        )


def _mmsu(tree: Tree) -> None:
    rows = [
        {"id": f"x{index}", "task_name": "accent", "audio": {"bytes": encoded("a.wav", 0.6), "path": f"x{index}.wav"}, "question": "Which accent?"}
        | {"choice_a": "Indian", "choice_b": "Scottish", "choice_c": "Irish", "choice_d": None, "answer_gt": answer, "category": "Perception"}
        for index, answer in enumerate(("Indian", "Irish", "Scottish"))
    ]
    tree.shard("data/train-00000-of-00003.parquet", rows, {"audio": {"_type": "Audio", "sampling_rate": 16000}})


def _dynamic_superb(tree: Tree) -> None:
    same = encoded("a.wav", 0.6)
    rows = [
        {"file": "a.wav", "audio": {"bytes": same, "path": "a.wav"}, "label": "yes", "instruction": "Is there noise? The answer could be yes or no."},
        {
            "file": "a.wav",
            "audio": {"bytes": same, "path": "a.wav"},
            "label": "clean",
            "instruction": "Noisy or clean? Please choose from: noisy, clean.",
        },
        {
            "file": "b.wav",
            "audio": {"bytes": encoded("b.wav", 0.6), "path": "b.wav"},
            "label": "no",
            "instruction": "Is there noise? The answer could be yes or no.",
        },
    ]
    tree.shard("NoiseDetection_LJSpeech_MUSAN-Noise/data/test-00000-of-00001.parquet", rows)


# By kind and corpus: what fills the folder `root` of the entry, how many recordings are usable there, how many are refused.
TREES: dict[tuple[str, str], tuple[Callable[[Tree], None], int, int]] = {
    ("speech", "words"): (_words, 6, 0),
    ("speech", "digits"): (_digits, 8, 0),
    ("speech", "librispeech"): (_librispeech, 3, 0),
    ("speech", "librispeech-original"): (_librispeech_original, 6, 0),
    ("speech", "common-voice"): (_common_voice, 4, 0),
    ("speech", "vctk"): (_vctk, 3, 0),
    ("speech", "speech-commands"): (_speech_commands, 6, 0),
    ("speech", "nemo"): (_nemo, 4, 0),
    ("noise", "noise"): (_noise, 16, 0),
    ("noise", "ambience"): (_stretches(("birds.ogg", "coffee-shop.ogg"), 13.0), 6, 0),
    ("noise", "household"): (_stretches(("running_tap.wav",), 13.0), 3, 0),
    ("noise", "musan"): (_musan, 6, 0),
    ("noise", "demand"): (_demand, 6, 0),
    ("noise", "wham"): (_wham, 3, 0),
    ("noise", "esc-50"): (_esc_50, 5, 0),
    ("noise", "fsd50k"): (_fsd50k, 6, 0),
    ("noise", "dns"): (_stretches(("noise_fullband/door_Freesound_validated_452587_0.wav", "noise_fullband/-00wkEBxhg4.wav"), 1.0), 2, 0),
    ("rooms", "openair"): (_stretches(("Basement.wav", "UndergroundCarPark.wav"), 0.5), 2, 0),
    ("rooms", "surrey-brir"): (_sofa("UniS_Room_A_BRIR_16k.sofa"), 10, 0),
    ("rooms", "rirs-noises"): (_rirs_noises, 12, 0),
    ("rooms", "but-reverbdb"): (_but, 3, 0),
    ("rooms", "sofa"): (_sofa("aachen/lecture.sofa", "aachen/office.sofa"), 20, 0),
    ("questions", "mmau"): (_table_questions("mmau-test-mini.json", MMAU, ["test-mini-audios/3fe6.wav", "test-mini-audios/77aa.wav"]), 2, 0),
    ("questions", "mmar"): (_table_questions("MMAR-meta.json", MMAR, ["audio/a_0.wav", "audio/b_1.wav"]), 2, 0),
    ("questions", "mmsu"): (_mmsu, 3, 0),
    ("questions", "mcr-bench"): (_mcr, 9, 0),
    ("questions", "dynamic-superb"): (_dynamic_superb, 2, 0),
    ("questions", "avqa"): (_table_questions("val_qa.json", AVQA, ["audios/-HG3_30.wav", "audios/zz_10.wav", "audios/yy_10.wav"]), 3, 0),
}


def entries(catalogs: Path) -> Iterator[tuple[str, str]]:
    """(kind, corpus) of every file of catalogs/ that is an entry."""
    for path in sorted(catalogs.glob("*/*.yaml")):
        if "\ncorpus: " in f"\n{path.read_text()}":
            yield path.parent.name, path.stem
