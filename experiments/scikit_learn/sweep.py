"""A plain sweep of scikit-learn, tracked in MLflow: nothing of it knows of the workbench.

python experiments/scikit_learn/sweep.py
python -m workbench.report wine --runs "" --claims experiments/scikit_learn/claims.yaml --uri sqlite:///wine.db
"""

import argparse

import mlflow
from sklearn.datasets import load_wine
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC


def main() -> None:
    """32 runs: 8 splits, with and without scaling, two sizes of the cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uri", default="sqlite:///wine.db", help="MLflow tracking URI")
    given = parser.parse_args()
    mlflow.set_tracking_uri(given.uri)
    mlflow.set_experiment("wine")
    inputs, labels = load_wine(return_X_y=True)
    for seed in range(8):
        parts = train_test_split(inputs, labels, test_size=0.5, random_state=seed, stratify=labels)
        for scaling in ("none", "standard"):
            for cache in (100, 200):
                with mlflow.start_run():
                    mlflow.log_params({"scaling": scaling, "cache_size": cache, "split_seed": seed})
                    scale = StandardScaler() if scaling == "standard" else FunctionTransformer()
                    model = make_pipeline(scale, SVC(cache_size=cache)).fit(parts[0], parts[2])
                    mlflow.log_metric("accuracy", accuracy_score(parts[3], model.predict(parts[1])))


if __name__ == "__main__":
    main()
