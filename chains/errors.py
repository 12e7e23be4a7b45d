"""Everything that can go wrong, in one hierarchy.

GristmillError
├── UsageError                  wrong words from the user; nothing was started     exit 2
│   ├── SettingsError           a setting, its file or its secret
│   ├── TemplateError           a prompt template
│   └── TableError              a table, a column or its type
├── ModelLoadError              the model cannot be had; no row was asked          exit 1
├── StoreError                  the MLflow store cannot be asked; no row was       exit 1
├── JobError                    the run was stopped or could not finish            exit 1
│   └── StoppedAtCap            what is left is pending                            exit 3
└── CompletionError             one row has no answer; becomes the row's `error`
    ├── EmptyInput              skipped: no call, nothing to answer
    ├── Undecodable             permanent: a message that is not what its schema says
    ├── InputTooLarge           permanent: above the chain's limit of characters
    ├── ContextLengthExceeded   permanent: above the model's window
    ├── InvalidRequest          permanent: the endpoint refused the request
    ├── ContentFiltered         permanent: the provider's filter
    ├── Refused                 permanent: the model declined
    ├── Incomplete              permanent: the answer was cut at its token limit
    ├── LowConfidence           permanent: an answer that the model itself calls improbable
    ├── ModelCrashed            permanent: this row alone breaks the model
    ├── OutOfMemory             no room for this row alone; asked again by the next run
    ├── UnparsableAnswer        an answer, but not in the asked form; kept raw
    ├── TransientError          asked again by the next run
    │   ├── RateLimited
    │   │   └── NoCredit        the account has used up its credit
    │   ├── ServerError
    │   ├── TimedOut
    │   └── ConnectionBroken
    └── Pending                 not asked, or what is wrong is wrong for all; waits for the next run
        ├── CredentialRejected
        ├── NotFound            no such model or path at the endpoint
        ├── Unsupported         a parameter that the model does not take
        ├── EndpointDown
        ├── CapReached
        ├── AwaitingBatch       asked in a batch of the provider that has not ended
        └── BatchUnanswered     its batch ended without an answer to it

`CompletionError` and below never leave a chain as exceptions: they are values beside answers.
Errors of programming pass through untouched.
"""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from chains.models.base import Usage

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C has stopped."""


class GristmillError(Exception):
    """Base of all; `hint` says what to do about it."""

    hint: ClassVar[str] = ""
    exit_code: ClassVar[int] = 1


class UsageError(GristmillError):
    """The words of the user are wrong; nothing was started or written."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is unknown, missing or of the wrong type; the message names its key and file."""


class TemplateError(UsageError):
    """A prompt template is missing, malformed, or its variables do not fit."""


class TableError(UsageError):
    """A table or column is missing or has the wrong type; the message names expected and found."""


class ModelLoadError(GristmillError):
    """The model's files, package or endpoint cannot be had; no row was asked."""


class StoreError(GristmillError):
    """The MLflow store does not answer, or not as it should; no row was asked."""


class JobError(GristmillError):
    """The run cannot finish; what was paid for is in the ledger."""


class StoppedAtCap(JobError):
    """A stream has come to a cap; what was finished before is committed."""

    exit_code = 3


class CompletionError(GristmillError):
    """Why one row has no answer.

    `code` is what tables carry; `outcome` groups codes by what happens next (docs/errors.md);
    `retryable` rows are asked again by the next run; `raw` is what the model said, where it said
    something that is not an answer; `usage` is what a call took that was answered all the same.
    """

    code: ClassVar[str] = "error"
    outcome: ClassVar[str] = "permanent"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, raw: str | None = None, usage: "Usage | None" = None) -> None:
        super().__init__(message)
        self.raw = raw
        self.usage = usage

    @property
    def told(self) -> str:
        """The message with what to do about it."""
        return f"{self}; {self.hint}" if self.hint else str(self)


class EmptyInput(CompletionError):
    """A variable is null, NaN, empty or blank: there is no question."""

    code = "empty_input"
    outcome = "skipped"


class Undecodable(CompletionError):
    """A message is not UTF-8, not JSON, or does not fit the declared schema."""

    code = "undecodable"


class InputTooLarge(CompletionError):
    """A variable has more characters than the chain takes; checked before the tokenizer."""

    code = "input_too_large"
    hint = "raise chain.max_input_chars, or cut the column in the source"


class ContextLengthExceeded(CompletionError):
    """Prompt and answer together do not fit the model's context window."""

    code = "context_length"
    hint = "set chain.on_long_input to chunk or truncate, or use a model with a larger window"


class InvalidRequest(CompletionError):
    """The endpoint refused the request as malformed (400, 413, 422)."""

    code = "invalid_request"


class ContentFiltered(CompletionError):
    """The provider's content filter withheld the answer."""

    code = "content_filter"


class Refused(CompletionError):
    """The model declined to answer."""

    code = "refused"


class Incomplete(CompletionError):
    """The answer ended at its token limit; `raw` keeps what came."""

    code = "incomplete"
    hint = "raise chain.parameters.max_output_tokens"


class LowConfidence(CompletionError):
    """The answer's tokens are less probable than the chain takes; `raw` keeps it."""

    code = "low_confidence"


class ModelCrashed(CompletionError):
    """The model or its tokenizer raised on this row alone."""

    code = "model_crashed"


class OutOfMemory(CompletionError):
    """The memory does not hold this row alone: that may be others' doing, so nothing is kept."""

    code = "out_of_memory"
    outcome = "transient"
    retryable = True
    hint = "one task for each GPU leaves it the whole memory, and so does chain.engine: sidecar"


class UnparsableAnswer(CompletionError):
    """The answer does not have the asked form, after one more ask; `raw` keeps it."""

    code = "unparsable"
    outcome = "unparsable"


class TransientError(CompletionError):
    """May succeed when asked again; never kept in the ledger.

    `retry_after` is the server's wish in seconds, None where it said nothing usable.
    """

    code = "transient"
    outcome = "transient"
    retryable = True

    def __init__(
        self, message: str, retry_after: float | None = None, usage: "Usage | None" = None
    ) -> None:
        super().__init__(message, usage=usage)
        self.retry_after = retry_after


class RateLimited(TransientError):
    """429: too many requests or tokens."""

    code = "rate_limit"


class NoCredit(RateLimited):
    """429 with the word that the account has no credit; some servers say so of a minute's quota.

    Where all attempts of a row end so, and no row was answered meanwhile, nothing more is sent, as
    after a rejected credential.
    """

    code = "no_credit"
    hint = "add to the account's credit or raise its limit, then run the job again"


class ServerError(TransientError):
    """5xx, 408 or 409, or a success that carries no completion."""

    code = "server_error"


class TimedOut(TransientError):
    """The request's total deadline passed."""

    code = "timeout"


class ConnectionBroken(TransientError):
    """No connection, or it broke before the answer was whole."""

    code = "connection"


class Pending(CompletionError):
    """Not asked in this run, or asked in vain as any other row would be."""

    code = "pending"
    outcome = "pending"
    retryable = True


class CredentialRejected(Pending):
    """401, 402 or 403: nothing more is sent with this credential but a probe now and then."""

    code = "credential"
    hint = "renew the credential or its account's credit, then run the job again"


class NotFound(Pending):
    """404 or an unknown model: a matter of settings or of a server that is not ready."""

    code = "not_found"
    hint = "check the endpoint's base_url and the model's name"


class Unsupported(Pending):
    """The model does not take a parameter: a matter of settings."""

    code = "unsupported"
    hint = "set the endpoint's max_tokens_field or omit_parameters, or chain.parameters"


class EndpointDown(Pending):
    """Call after call has failed: nothing is sent but a probe now and then."""

    code = "endpoint_down"
    hint = "run the job again when the endpoint answers; `gristmill endpoints` shows its state"


class CapReached(Pending):
    """A cap of the user's holds no more: the run's budget, or tokens a minute."""

    code = "cap_reached"
    hint = "raise the cap, or run the job again"


class AwaitingBatch(Pending):
    """Asked in a batch of the provider that has not ended; the next run takes its answer."""

    code = "awaiting_batch"
    hint = "run the job again later; it submits nothing twice"


class BatchUnanswered(Pending):
    """The provider's batch expired, failed or was cancelled before this row had an answer."""

    code = "batch_unanswered"
    hint = "the next run submits it again"


def error_codes(root: type[CompletionError] = CompletionError) -> list[str]:
    """Return the codes of all reasons for a row without an answer, or of some kind, sorted."""
    return sorted({kind.code for kind in _reasons(root)})


def hint_of(code: str) -> str:
    """Return what to do about the rows whose error has this code; nothing where no class tells."""
    return next((kind.hint for kind in _reasons(CompletionError) if kind.code == code), "")


def _reasons(root: type[CompletionError]) -> list[type[CompletionError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in _reasons(child))]
