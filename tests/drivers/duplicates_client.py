"""A program as the document of the dialect shows one: requests, a bearer token, VQL as JSON with blanks.

usage: duplicates_client.py BASE_URL TOKEN DATASET_ID
"""

from __future__ import annotations

import json
import sys
from typing import Any

import requests


def clusters_of(base: str, token: str, dataset: str, threshold: float, page: int = 0) -> list[dict[str, Any]]:
    params: dict[str, str | int] = {
        "vql": json.dumps([{"duplicates": {"op": "duplicates", "value": threshold}}]),
        "entity_type": "IMAGES",
        "threshold": 0,
        "page_number": page,
    }
    headers = {"Authorization": f"Bearer {token}"}
    answer = requests.get(f"{base}/api/v1/explore/{dataset}", headers=headers, params=params, timeout=60)
    answer.raise_for_status()
    return list(answer.json().get("clusters", []))


def main() -> None:
    base, token, dataset = sys.argv[1:]
    found = clusters_of(base, token, dataset, threshold=0.95)
    print(f"{len(found)} clusters, {sum(cluster.get('n_images', 0) for cluster in found)} images")
    for cluster in found:
        print(f"- {cluster.get('cluster_id', '')[:8]} {cluster.get('n_images')}")
        for preview in cluster.get("previews", [])[:3]:
            print(f"    {preview['file_name']}")


if __name__ == "__main__":
    main()
