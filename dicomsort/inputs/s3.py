"""An S3 bucket: who asks, where it is, and what is in it; its bytes are moved by `objects`.

botocore reads every place in which credentials may lie (environment, shared files with profiles, single
sign-on, containers, instances) and lists each key as it is. obstore knows the environment and instances only,
and refuses a whole page of a listing for one key with an empty part, `.` or `..` in it.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any

import botocore.session
from botocore import UNSIGNED
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp

from dicomsort.errors import UsageError
from dicomsort.inputs.store import RemoteSettings
from dicomsort.inputs.transfer import Entry
from dicomsort.system.escaping import escape

_REGION = "us-east-1"
_REGION_HEADER = "x-amz-bucket-region"
_TOLD = {
    "NoSuchBucket": "there is no such bucket",
    "404": "there is no such bucket",
    "AccessDenied": "access is denied: check credentials and their permission to list (s3:ListBucket)",
    "403": "access is denied: check credentials and their permission to list (s3:ListBucket)",
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "ExpiredToken": "the credentials have expired: sign in again",
}
_WRONG = {
    "ProfileNotFound": "there is no profile of the name in AWS_PROFILE: see your shared configuration",
    "PartialCredentialsError": "the credentials are not complete: check access key and secret key",
    "CredentialRetrievalError": "the credentials cannot be got: sign in again",
    "ParamValidationError": "this is no name of a bucket",
    "SSLError": "its certificate is not trusted: set AWS_CA_BUNDLE if the store has one of its own",
}
_NO_LIST = "the answer is no list of objects: check the address, and what lies between"
_MOST = 1 << 63


class Account:
    """Who asks for a bucket: whom the usual places say."""

    def __init__(self, name: str, settings: RemoteSettings) -> None:
        """Find credentials and the bucket's region. Raises UsageError."""
        self.name = name
        self._settings = settings
        try:
            self._session = botocore.session.get_session()
            self._session.register_component("data_loader", _descriptions())
            parsers = self._session.get_component("response_parser_factory")
            parsers.set_parser_defaults(timestamp_parser=_time)
            self._credentials = self._session.get_credentials()
            self._client = self._client_in(self._session.get_config_variable("region"))
            if "amazonaws." in self._client.meta.endpoint_url:
                self._client = self._client_in(self._region())
        except BotoCoreError as error:
            raise UsageError(self._refused(error)) from None

    def _client_in(self, region: str | None) -> BaseClient:
        most = self._settings.timeout
        config = Config(
            signature_version="s3v4" if self._credentials else UNSIGNED,
            connect_timeout=most,
            read_timeout=most,
            retries={"total_max_attempts": self._settings.tries, "mode": "standard"},
        )
        return self._session.create_client("s3", region_name=region or _REGION, config=config)

    def _region(self) -> str:
        """Ask where the bucket is; the answer stands in a refusal too."""
        try:
            answer = self._client.head_bucket(Bucket=self.name)
        except ClientError as error:
            answer = error.response
        region: str = answer["ResponseMetadata"]["HTTPHeaders"].get(_REGION_HEADER, "")
        return region or self._client.meta.region_name

    @property
    def endpoint(self) -> str:
        """The address that requests go to."""
        return str(self._client.meta.endpoint_url)

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        return str(self._client.meta.region_name)

    @property
    def certificates(self) -> str | None:
        """The file with certificates that are trusted, if one is configured."""
        bundle: str | None = self._session.get_config_variable("ca_bundle")
        return bundle

    @property
    def is_public(self) -> bool:
        """Whether nobody's credentials were found, so that requests are not signed."""
        return self._credentials is None

    def keys(self) -> tuple[str, str, str | None]:
        """Return access key, secret key and session token, renewed if they were about to end."""
        now = self._credentials.get_frozen_credentials()
        return now.access_key, now.secret_key, now.token

    def entries(self, prefix: str, most: int | None = None) -> Iterator[Entry]:
        """Yield what has a prefix in the order of the keys' bytes, page by page. Raises UsageError."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix, PaginationConfig={"MaxItems": most}
        )
        try:
            for page in pages:
                yield from _entries(page)
        except (ClientError, BotoCoreError) as error:
            raise UsageError(self._refused(error)) from None
        except (ResponseParserError, ValueError, LookupError, TypeError, OverflowError):
            raise UsageError(f"s3://{escape(self.name)}: {_NO_LIST}") from None

    def link_to(self, key: str) -> str:
        """Return an address by which a key can be got with no credentials for an hour: never to be shown."""
        what = {"Bucket": self.name, "Key": key}
        return str(self._client.generate_presigned_url("get_object", Params=what))

    def _refused(self, error: BotoCoreError | ClientError) -> str:
        """Say why in words of our own: those of an error may quote a key."""
        if isinstance(error, ClientError):
            code = str(error.response.get("Error", {}).get("Code", ""))
            why = _TOLD.get(code, "the store answers with an error: try again later")
        else:
            why = _WRONG.get(type(error).__name__, "the store cannot be reached: check address and network")
        return f"s3://{escape(self.name)}: {why}"

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()


@cache
def _descriptions() -> Loader:
    """Return what botocore knows of services, which takes a tenth of a second to read."""
    return Loader()


def _time(told: str) -> datetime:
    """Read a time; botocore's own way takes half of the time of a list."""
    try:
        return datetime.fromisoformat(told)
    except (TypeError, ValueError):
        parsed: datetime = parse_timestamp(told)
        return parsed


def _entries(page: Mapping[str, Any]) -> list[Entry]:
    """Return what is on a page. Raises ValueError or LookupError if it is none, or the next one is not named.

    botocore takes any XML for a page, such as that on which a network wants people to sign in.
    """
    if page["IsTruncated"] and not page.get("NextContinuationToken"):
        raise ValueError
    return [_entry(found) for found in page.get("Contents", ())]


def _entry(found: Mapping[str, Any]) -> Entry:
    if not 0 <= found["Size"] < _MOST:
        raise ValueError
    return Entry(found["Key"], found["Size"], found["LastModified"].timestamp(), found.get("ETag", ""))
