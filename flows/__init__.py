"""The DAG at run time: Prefect flows that read dvc.yaml and drive the stages. No signal processing here."""
