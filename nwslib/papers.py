"""What the papers print, with table and row, and how we read it.

Schuerholt & Borth, "An Investigation of the Weight Space for Version Control of
Neural Networks": the numbers here are copied from its tables, nothing is computed.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Table 1, learning setup: the printed words and numbers by net.
TABLE_1 = {
    "A1": {
        "net": "fc - act - fc - act - fc",
        "activation": "sigmoid",
        "init": "Kaiming Normal",
        "optimizer": "SGD on MSE",
        "learning rate": 0.03,
        "momentum": 0.9,
        "weight decay": 0.0003,
        "batch size": 4,
    },
    "A2": {
        "net": "2 x [conv - max-pool - act] - fc",
        "activation": "LeakyReLU",
        "init": "Kaiming Normal",
        "optimizer": "SGD on MSE",
        "learning rate": 0.0003,
        "momentum": 0.9,
        "weight decay": 0.1,
        "batch size": 12,
    },
}

#: Weights of each net: first rows of Table 3 (A1, the FFNN) and Table 2 (A2, CNN).
N_WEIGHTS = {"A1": 2160, "A2": 1376}

#: Seeds per zoo (Section 3.1) and the last epoch (Fig. 3).
N_MODELS, N_EPOCHS = 250, 50

#: Dimensions of the truncated SVD in Tables 2 and 3, after the full space.
SVD_DIMENSIONS = (500, 100, 50, 25, 10, 5)


@dataclass(frozen=True)
class ClusterRow:
    """One row of Table 2 or 3.

    Attributes
    ----------
    purity : float
        "Cluster Purity".
    ordered_initial : float
        "# of ordered initial epochs".
    ordered_pairs : float
        "% of ordered epochs", printed as a share.
    """

    purity: float
    ordered_initial: float
    ordered_pairs: float


#: Tables 2 (A2) and 3 (A1): net -> space -> row; 0 is the full weight space.
CLUSTER_TABLES = {
    "A2": {
        0: ClusterRow(1.0, 20.184, 0.693),
        500: ClusterRow(1.0, 21.848, 0.732),
        100: ClusterRow(1.0, 18.632, 0.689),
        50: ClusterRow(1.0, 17.728, 0.675),
        25: ClusterRow(1.0, 15.852, 0.643),
        10: ClusterRow(0.896, 12.094, 0.568),
        5: ClusterRow(0.465, 8.175, 0.471),
    },
    "A1": {
        0: ClusterRow(1.0, 4.512, 0.357),
        500: ClusterRow(1.0, 4.632, 0.339),
        100: ClusterRow(1.0, 4.532, 0.325),
        50: ClusterRow(1.0, 4.212, 0.303),
        25: ClusterRow(1.0, 3.684, 0.273),
        10: ClusterRow(1.0, 2.916, 0.227),
        5: ClusterRow(0.843, 2.038, 0.177),
    },
}

# Eilertsen et al., "Classifying the classifier: dissecting the weight space of neural
# networks" (2020); numbers printed in its supplement.

#: Least test accuracy of a training that counts as successful (supplement C).
NWS_THRESHOLDS = {
    "mnist": 0.80,
    "cifar10": 0.25,
    "svhn": 0.50,
    "stl10": 0.25,
    "fashion": 0.50,
}

#: Trainings of the main set by data set (captions of Fig. 7 and 8).
NWS_TRAININGS = {
    "mnist": 2529,
    "cifar10": 2650,
    "svhn": 2561,
    "stl10": 2588,
    "fashion": 2672,
}

#: Weights of the fixed net, of them in convolutions (supplement B); of the smallest
#: and the largest net, "~20K" and "~390K" (supplement A.1).
NWS_WEIGHTS = {
    "fixed": 92_868,
    "convolutions": 16_880,
    "smallest": 20_000,
    "largest": 390_000,
}

#: Weights of the deep meta-classifiers (Table 3, supplement F.1).
DMC_WEIGHTS = {"global": 10_948_997, "local": 10_407_685}

#: Trainings before and after the thresholds, training and test set together
#: (Table 2, supplement C).
NWS_SETS = {"main": (13_000, 8_035 + 2_448), "fixed": (3_000, 1_758 + 880)}
