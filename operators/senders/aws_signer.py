"""Amazon's signature under our requests: botocore's, with the credentials that it finds.

For SES, and for SNS beside it. botocore is imported where it is needed: it takes 0.4 s and 36 MB,
and most processes send neither mail nor text messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from botocore.credentials import Credentials


class Signer:
    """Signs requests to one service in one region. What blocks says so; it is for a thread of its
    own."""

    def __init__(self, name: str, region: str, endpoint: str, credentials: Credentials) -> None:
        self.endpoint = endpoint
        self._name = name
        self._region = region
        self._credentials = credentials

    @classmethod
    def of(
        cls,
        region: str,
        *,
        profile: str,
        endpoint: str,
        key: tuple[str, str, str] | None,
        service: str = "sesv2",
    ) -> Signer:
        """A signer for ``service``, as botocore calls it; blocks. ``key``: id, secret and session
        token, None to look where Amazon's tools do. Raises ValueError where there are no
        credentials."""
        import botocore.session
        from botocore.credentials import Credentials
        from botocore.exceptions import BotoCoreError

        try:
            session = botocore.session.Session(profile=profile or None)
            found = Credentials(*key) if key else session.get_credentials()
            if found is None:
                raise ValueError(
                    "there are no AWS credentials: set `access_key_id` and `secret_access_key`, or "
                    "let the machine have a role, a profile or AWS_ACCESS_KEY_ID"
                )
            client = session.create_client(
                service,
                region_name=region,
                endpoint_url=endpoint or None,
                aws_access_key_id="unused",
                aws_secret_access_key="unused",
            )
        except BotoCoreError as error:
            raise ValueError(f"{service} can't be used with these settings: {error}") from error
        name = client.meta.service_model.signing_name
        return cls(name, region, str(client.meta.endpoint_url).rstrip("/"), found)

    @property
    def stale(self) -> bool:
        """Whether the credentials have to be fetched anew before the next signature."""
        needed = getattr(self._credentials, "refresh_needed", None)
        return needed is not None and bool(needed())

    def refresh(self) -> None:
        """Fetch them; blocks. Raises ValueError where they can't be had."""
        from botocore.exceptions import BotoCoreError

        try:
            self._credentials.get_frozen_credentials()
        except BotoCoreError as error:
            raise ValueError(f"no AWS credentials: {error}") from error

    def headers(
        self,
        path: str,
        body: bytes,
        content_type: str = "application/json",
        method: str = "POST",
    ) -> dict[str, str]:
        """The headers of a request, signature included: 0.1 ms."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(
            method,
            self.endpoint + path,
            headers={"content-type": content_type},
            data=body,
        )
        SigV4Auth(self._credentials, self._name, self._region).add_auth(request)
        return dict(request.headers.items())
