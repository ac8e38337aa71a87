"""A plain sweep of scikit-learn, tracked in MLflow: nothing of it knows of the workbench.

python examples/scikit_learn/sweep.py
python -m workbench.report wine --runs "" --claims examples/scikit_learn/claims.yaml --uri sqlite:///wine.db
"""

import sys

import mlflow
from sklearn.datasets import load_wine
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

mlflow.set_tracking_uri(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///wine.db")
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
