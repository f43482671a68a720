"""Administration of topics and their subscriptions."""

from __future__ import annotations

from typing import List, Optional

from phalanx import limits
from phalanx._core import rpc
from phalanx._core.call import Repeat
from phalanx._core.router import QueueKey
from phalanx.aio.lives import Lives
from phalanx.topic_types import LogPage, Place, Subscription, SubscriptionSettings, Topic, TopicInfo, TopicSettings
from phalanx.v1 import admin_pb2 as pb


class TopicAdmin(Lives):
    """Topics of one namespace: a part of ``client.admin``."""

    async def create_topic(self, name: str, settings: Optional[TopicSettings] = None) -> Topic:
        """Creates a topic, or answers with the one of that name if its settings are the same.

        :raises AlreadyExists: when its settings are others, or it is a queue.
        """
        wire = (settings or TopicSettings()).to_wire()
        request = pb.CreateTopicRequest(namespace=self._namespace, name=name, settings=wire)
        return Topic.from_wire(await self._core.call(rpc.CREATE_TOPIC, request, Repeat.SAME))

    async def update_topic(self, name: str, settings: TopicSettings, *, if_version: Optional[int] = None) -> Topic:
        """Replaces all settings of a topic; with `if_version` only if it has that version."""
        wire = settings.to_wire()
        topic = await self._update(
            "topic",
            name,
            if_version,
            rpc.UPDATE_TOPIC,
            lambda uid, version: pb.UpdateTopicRequest(
                namespace=self._namespace, name=name, settings=wire, if_version=version, uid=uid
            ),
        )
        return Topic.from_wire(topic)

    async def delete_topic(self, name: str) -> None:
        """Deletes a topic with all its subscriptions; answers when the names are free again."""
        await self._delete(
            "topic",
            name,
            rpc.DELETE_TOPIC,
            lambda uid: pb.DeleteTopicRequest(namespace=self._namespace, name=name, uid=uid),
        )

    async def topic_info(self, name: str) -> TopicInfo:
        """Settings of a topic, and what is stored. Linearizable."""
        request = pb.GetTopicRequest(namespace=self._namespace, name=name)
        info = await self._core.call(rpc.GET_TOPIC, request, Repeat.READ, QueueKey(self._namespace, name))
        return TopicInfo.from_wire(info)

    async def list_topics(self) -> List[Topic]:
        """All topics of the namespace, in the order of their names."""
        topics: List[Topic] = []
        token = ""
        while True:
            request = pb.ListTopicsRequest(namespace=self._namespace, page_size=limits.PAGE_SIZE, page_token=token)
            page = await self._core.call(rpc.LIST_TOPICS, request, Repeat.READ)
            topics += [Topic.from_wire(topic) for topic in page.topics]
            token = page.next_page_token
            if not token:
                return topics

    async def create_subscription(
        self,
        topic: str,
        name: str,
        settings: Optional[SubscriptionSettings] = None,
        *,
        start: Optional[Place] = None,
    ) -> Subscription:
        """Creates a subscription, or answers with the one of that name if it is the same.

        :param start: where it begins, or with the first message behind it that is kept. Default: with what is published
            from then on.
        :raises Invalid: a pattern or filter that is not understood; it says where.
        """
        settings = settings or SubscriptionSettings()
        request = pb.CreateSubscriptionRequest(
            namespace=self._namespace,
            topic=topic,
            name=name,
            settings=settings.to_wire(),
            pattern=settings.pattern,
            filter=settings.filter,
            start=None if start is None else start.to_wire(),
        )
        return Subscription.from_wire(await self._core.call(rpc.CREATE_SUBSCRIPTION, request, Repeat.SAME))

    async def update_subscription(
        self, topic: str, name: str, settings: SubscriptionSettings, *, if_version: Optional[int] = None
    ) -> Subscription:
        """Replaces all settings of a subscription; pattern and filter hold for what is published from then on."""
        wire = settings.to_wire()
        subscription = await self._update(
            "subscription",
            f"{topic}/{name}",
            if_version,
            rpc.UPDATE_SUBSCRIPTION,
            lambda uid, version: pb.UpdateSubscriptionRequest(
                namespace=self._namespace,
                topic=topic,
                name=name,
                settings=wire,
                pattern=settings.pattern,
                filter=settings.filter,
                if_version=version,
                uid=uid,
            ),
        )
        return Subscription.from_wire(subscription)

    async def delete_subscription(self, topic: str, name: str) -> None:
        """Deletes a subscription with all that waits for it; others are not touched."""
        await self._delete(
            "subscription",
            f"{topic}/{name}",
            rpc.DELETE_SUBSCRIPTION,
            lambda uid: pb.DeleteSubscriptionRequest(namespace=self._namespace, topic=topic, name=name, uid=uid),
        )

    async def list_subscriptions(self, topic: str) -> List[Subscription]:
        """All subscriptions of a topic, in the order of their names."""
        subscriptions: List[Subscription] = []
        token = ""
        while True:
            request = pb.ListSubscriptionsRequest(
                namespace=self._namespace, topic=topic, page_size=limits.PAGE_SIZE, page_token=token
            )
            page = await self._core.call(rpc.LIST_SUBSCRIPTIONS, request, Repeat.READ)
            subscriptions += [Subscription.from_wire(one) for one in page.subscriptions]
            token = page.next_page_token
            if not token:
                return subscriptions

    async def seek_subscription(self, topic: str, name: str, place: Place) -> int:
        """Moves a subscription: all that it has is given up, and it waits for what is at the place and behind.

        Answers with the sequence of the place. Not repeated when the answer is lost: it would give up what was done since.

        :raises Invalid: messages from there on are gone, or there is no such mark.
        :raises OutcomeUnknown: no answer came.
        """
        request = pb.SeekSubscriptionRequest(
            namespace=self._namespace, topic=topic, name=name, place=place.to_wire()
        )
        return (await self._core.call(rpc.SEEK_SUBSCRIPTION, request, Repeat.NEVER)).sequence

    async def mark_subscription(self, topic: str, name: str, mark: str, *, remove: bool = False) -> int:
        """Names the place where a subscription stands, or forgets one; answers with its sequence.

        Not repeated when the answer is lost.
        """
        request = pb.MarkSubscriptionRequest(
            namespace=self._namespace, topic=topic, name=name, mark=mark, remove=remove
        )
        return (await self._core.call(rpc.MARK_SUBSCRIPTION, request, Repeat.NEVER)).sequence

    async def read_log(self, topic: str, from_sequence: int = 0, max_messages: int = 100) -> LogPage:
        """A page of a topic's log from a sequence on (0: the first that is kept); nothing is settled. Linearizable."""
        request = pb.ReadLogRequest(
            namespace=self._namespace, name=topic, from_sequence=from_sequence, max_messages=max_messages
        )
        page = await self._core.call(rpc.READ_LOG, request, Repeat.READ, QueueKey(self._namespace, topic))
        return LogPage.from_wire(page)
