"""Blocks of calls from Redis instead of Postgres, where `P0711_REDIS_URL` names one: the same answers, one round trip.

A key's minute and count are a hash that Redis forgets by itself after two minutes. The clock is Redis's own, so
replicas need none in common; where it is set back, the later minute goes on.
"""

from __future__ import annotations

from typing import Any

from shared.errors import InvalidInput, Unavailable

PREFIX = "0711:quota:"
TIMEOUT_S = 2.0

LEASE = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local minute, used = math.floor(now / 60), 0
local known = tonumber(redis.call('HGET', KEYS[1], 'minute') or 0)
if known >= minute then
    minute, used = known, tonumber(redis.call('HGET', KEYS[1], 'used') or 0)
end
local granted = math.min(tonumber(ARGV[2]), math.max(tonumber(ARGV[1]) - used, 0))
redis.call('HSET', KEYS[1], 'minute', minute, 'used', used + granted)
redis.call('EXPIRE', KEYS[1], 120)
return {granted, tostring((minute + 1) * 60 - now)}
"""


class RedisQuotaStore:
    """Hands out blocks; as `QuotaStore`."""

    def __init__(self, url: str) -> None:
        from redis.asyncio import Redis

        try:
            self._redis: Any = Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        except ValueError:
            raise InvalidInput("P0711_REDIS_URL looks like redis://HOST:6379/0.", field="P0711_REDIS_URL") from None
        self._lease = self._redis.register_script(LEASE)

    async def lease(self, key: str, customer: str | None, most: int, block: int) -> tuple[int, float]:
        """Up to `block` calls of what the running minute still has of `most`, and the seconds that are left of it.

        Raises:
            Unavailable: Redis does not answer.
        """
        from redis.exceptions import RedisError

        try:
            granted, left_s = await self._lease(keys=[PREFIX + key], args=[most, block])
        except (RedisError, OSError, TimeoutError):
            raise Unavailable("The Redis of P0711_REDIS_URL does not answer: try again later.") from None
        return int(granted), float(left_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
