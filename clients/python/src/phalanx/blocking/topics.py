"""Administration of topics and their subscriptions."""

from __future__ import annotations

from typing import List, Optional

from phalanx import aio
from phalanx.blocking import loop
from phalanx.topic_types import LogPage, Place, Subscription, SubscriptionSettings, Topic, TopicInfo, TopicSettings


class TopicAdmin:
    """Topics of one namespace: a part of ``client.admin``. As :class:`phalanx.aio.Admin`."""

    _aio: aio.Admin

    def create_topic(self, name: str, settings: Optional[TopicSettings] = None) -> Topic:
        """Creates a topic, or answers with the one of that name if its settings are the same.

        :raises AlreadyExists: when its settings are others, or it is a queue.
        """
        return loop.run(self._aio.create_topic(name, settings))

    def update_topic(self, name: str, settings: TopicSettings, *, if_version: Optional[int] = None) -> Topic:
        """Replaces all settings of a topic; with `if_version` only if it has that version."""
        return loop.run(self._aio.update_topic(name, settings, if_version=if_version))

    def delete_topic(self, name: str) -> None:
        """Deletes a topic with all its subscriptions; answers when the names are free again."""
        loop.run(self._aio.delete_topic(name))

    def topic_info(self, name: str) -> TopicInfo:
        """Settings of a topic, and what is stored. Linearizable."""
        return loop.run(self._aio.topic_info(name))

    def list_topics(self) -> List[Topic]:
        """All topics of the namespace, in the order of their names."""
        return loop.run(self._aio.list_topics())

    def create_subscription(
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
        return loop.run(self._aio.create_subscription(topic, name, settings, start=start))

    def update_subscription(
        self, topic: str, name: str, settings: SubscriptionSettings, *, if_version: Optional[int] = None
    ) -> Subscription:
        """Replaces all settings of a subscription; pattern and filter hold for what is published from then on."""
        return loop.run(self._aio.update_subscription(topic, name, settings, if_version=if_version))

    def delete_subscription(self, topic: str, name: str) -> None:
        """Deletes a subscription with all that waits for it; others are not touched."""
        loop.run(self._aio.delete_subscription(topic, name))

    def list_subscriptions(self, topic: str) -> List[Subscription]:
        """All subscriptions of a topic, in the order of their names."""
        return loop.run(self._aio.list_subscriptions(topic))

    def seek_subscription(self, topic: str, name: str, place: Place) -> int:
        """Moves a subscription: all that it has is given up, and it waits for what is at the place and behind.

        Answers with the sequence of the place. Repeated until it is answered.

        :raises Invalid: messages from there on are gone, or there is no such mark.
        """
        return loop.run(self._aio.seek_subscription(topic, name, place))

    def mark_subscription(self, topic: str, name: str, mark: str, *, remove: bool = False) -> int:
        """Names the place where a subscription stands, or forgets one; answers with its sequence."""
        return loop.run(self._aio.mark_subscription(topic, name, mark, remove=remove))

    def read_log(self, topic: str, from_sequence: int = 0, max_messages: int = 100) -> LogPage:
        """A page of a topic's log from a sequence on (0: the first that is kept); nothing is settled. Linearizable."""
        return loop.run(self._aio.read_log(topic, from_sequence, max_messages))
