"""The same service as one writes it in an afternoon: every package as it comes, one task and one commit an update.

It does what the contract's hot routes do, rightly but for what a crash loses between the queue and the database: a
token whose revocation is looked up in Redis, limits in Redis, the signature, a queue, a worker that applies each
update in a transaction and keeps a sorted set, and boards read from that. It is measured beside the service in each
run, on the same stores, so that a ratio can be told.

    granian --interface wsgi --workers 2 --blocking-threads 16 bench.baseline.naive:app
    celery --app bench.baseline.naive worker --concurrency 2

`bench/harness/baselines.py` starts both.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from typing import Any

import redis
from celery import Celery
from flask import Flask, Response, jsonify, request
from flask_jwt_extended import JWTManager, get_jwt_identity, jwt_required
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from prometheus_flask_exporter import PrometheusMetrics
from sqlalchemy import create_engine, text

from bench.baseline.tables import BOARD

DATABASE_URL = os.environ["NAIVE_DATABASE_URL"]
REDIS_URL = os.environ["NAIVE_REDIS_URL"]
POINTS = {"level_complete": 10}
TIMESTAMP_WINDOW_MS = 300_000

app = Flask(__name__, static_folder=None)
app.config.update(JWT_SECRET_KEY=bytes.fromhex(os.environ["NAIVE_SECRET"]), JWT_DECODE_AUDIENCE="scoreboard")
jwt = JWTManager(app)
PrometheusMetrics(app)
Limiter(
    get_remote_address,
    app=app,
    default_limits=["1000000 per second"],
    storage_uri="redis+" + REDIS_URL if REDIS_URL.startswith("unix://") else REDIS_URL,
    strategy="moving-window",
)
engine = create_engine(DATABASE_URL, pool_size=16)
cache: Any = redis.Redis.from_url(REDIS_URL)
queue = Celery("naive", broker=os.environ["NAIVE_BROKER_URL"])
queue.conf.task_ignore_result = True


@jwt.token_in_blocklist_loader
def is_revoked(_header: dict[str, Any], payload: dict[str, Any]) -> bool:
    """Whether a token was revoked."""
    return bool(cache.exists("revoked:" + payload["jti"]))


@app.post("/api/v1/scores/update")
@jwt_required()
def update() -> tuple[Response, int]:
    """Check the signed action and queue it."""
    player_id, body = get_jwt_identity(), request.get_json()
    with engine.connect() as connection:
        key = connection.execute(text("SELECT secret_key FROM players WHERE id = :id"), {"id": player_id}).scalar_one()
    message = "\n".join(["v1", player_id, *(str(body[name]) for name in ("action_id", "action", "value", "nonce"))])
    message += f"\n{body['timestamp']}"
    wanted = hmac.new(bytes(key), message.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted, body["signature"]):
        return jsonify(code="signature_invalid"), 403
    if abs(body["timestamp"] - time.time() * 1000) > TIMESTAMP_WINDOW_MS:
        return jsonify(code="timestamp_out_of_window"), 422
    if not cache.set(f"nonce:{player_id}:{body['nonce']}", 1, nx=True, ex=600):
        return jsonify(code="nonce_reused"), 409
    apply_update.delay(player_id, body["action_id"], body["action"], body["value"])
    return jsonify(action_id=body["action_id"], status="queued"), 202


@app.get("/api/v1/leaderboards/global")
def top() -> Response:
    """The first of the board."""
    limit = int(request.args.get("limit", 100))
    found = cache.zrange(BOARD, 0, limit - 1, desc=True, withscores=True)
    names = cache.hmget("names", [member for member, _ in found]) if found else []
    return jsonify(total=cache.zcard(BOARD), entries=_entries(found, names, 0))


@app.get("/api/v1/leaderboards/global/around/<player_id>")
def around(player_id: str) -> Response:
    """A player and the neighbours."""
    limit = int(request.args.get("limit", 11))
    rank = cache.zrevrank(BOARD, player_id) or 0
    first = max(0, rank - limit // 2)
    found = cache.zrange(BOARD, first, first + limit - 1, desc=True, withscores=True)
    names = cache.hmget("names", [member for member, _ in found])
    return jsonify(total=cache.zcard(BOARD), entries=_entries(found, names, first))


@queue.task
def apply_update(player_id: str, action_id: str, action: str, value: int) -> None:
    """Apply an update in a transaction of its own, then the board, then who listens."""
    increment = POINTS[action] * value
    with engine.begin() as connection:
        known = connection.execute(
            text("SELECT 1 FROM history WHERE player_id = :player AND action_id = :action"),
            {"player": player_id, "action": action_id},
        ).scalar()
        if known:
            return
        new_score = connection.execute(
            text(
                "INSERT INTO scores VALUES (:player, :increment)"
                " ON CONFLICT (player_id) DO UPDATE SET score = scores.score + :increment RETURNING score"
            ),
            {"player": player_id, "increment": increment},
        ).scalar_one()
        connection.execute(
            text("INSERT INTO history VALUES (:player, :id, :action, :value, :before, :after)"),
            {
                "player": player_id,
                "id": action_id,
                "action": action,
                "value": value,
                "before": new_score - increment,
                "after": new_score,
            },
        )
    cache.zadd(BOARD, {player_id: new_score})
    cache.publish("scores", f'{{"player_id": "{player_id}", "score": {new_score}}}')


def _entries(found: Any, names: list[bytes | None], first: int) -> list[dict[str, Any]]:
    return [
        {
            "rank": first + place,
            "user_id": member.decode(),
            "username": (name or b"").decode(),
            "score": int(score),
        }
        for place, ((member, score), name) in enumerate(zip(found, names, strict=True), 1)
    ]
