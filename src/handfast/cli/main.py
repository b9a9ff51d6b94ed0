"""
The command `handfast`: finds the module of a subcommand when it is asked for.

Nothing heavy is imported before it is needed, so that `handfast version`
answers at once. Errors that a user can mend are one line on standard error.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, NoReturn

import typer
from typer.core import TyperGroup

from handfast.cli.plain_values import take_plain_values
from handfast.errors import ConfigurationError, HandfastError


class Command(NamedTuple):
    """Where a subcommand lives, `attribute` of `module` being a `typer.Typer` or a function, and what it is for."""

    name: str
    module: str
    attribute: str
    summary: str


COMMANDS: tuple[Command, ...] = (
    Command(
        "serve", "handfast.cli.serve", "serve", "Run the identity plane in the foreground until SIGTERM or Ctrl-C."
    ),
    Command("device", "handfast.cli.device", "device_app", "Devices: make one, try one."),
    Command("ca", "handfast.cli.ca", "ca_app", "Your own CAs: register them, look at them, deactivate them."),
    Command(
        "cert",
        "handfast.cli.cert",
        "cert_app",
        "Device certificates: look at them, change their status, hand them over.",
    ),
    Command(
        "check",
        "handfast.cli.check",
        "check",
        "Check an account's certificates in one region: weak and shared keys, revocation, expiry, shared certificates.",
    ),
    Command("policy", "handfast.cli.policy", "policy_app", "Policies: test, replay and lint them before a rollout."),
    Command(
        "template",
        "handfast.cli.template",
        "template_app",
        "Provisioning templates: lint them before a fleet depends on them.",
    ),
    Command("account", "handfast.cli.account", "account_app", "Accounts and their access keys."),
    Command(
        "provisioning",
        "handfast.cli.provisioning",
        "provisioning_app",
        "Devices that the template of their CA provisions at their first connection.",
    ),
    Command("claim", "handfast.cli.claim", "claim_app", "Claim certificates, with which devices provision themselves."),
    Command(
        "hook",
        "handfast.cli.hook",
        "hook_app",
        "Hooks in place of cloud functions: webhooks, and commands of handfast.toml.",
    ),
    Command(
        "server-cert",
        "handfast.cli.server_cert",
        "server_cert_app",
        "Server certificates of your own, for domain names of your own.",
    ),
    Command(
        "backup",
        "handfast.cli.backup",
        "backup",
        "Write everything that a server needs into one archive, while it serves or while it does not.",
    ),
    Command(
        "restore", "handfast.cli.backup", "restore", "Make a data directory from an archive, all of it or nothing."
    ),
    Command(
        "doctor",
        "handfast.cli.doctor",
        "doctor",
        "Walk a device's whole way in, from its files to CONNECT, and say where it ends, why, and what to do first.",
    ),
    Command("explain", "handfast.cli.explain", "explain", "Say in plain words what was refused, why, and what to do."),
    Command("audit", "handfast.cli.audit", "audit_app", "What was changed, by whom and from where."),
    Command(
        "endpoint",
        "handfast.cli.endpoint",
        "endpoint_app",
        "Endpoints: their names, and the devices that came to them.",
    ),
    Command(
        "hosts",
        "handfast.cli.hosts",
        "hosts",
        "Print lines for the hosts file, so that this machine finds every endpoint of the server by its name.",
    ),
    Command(
        "coverage",
        "handfast.cli.coverage",
        "coverage",
        "Print which operations of the AWS models are implemented; the others answer 501 and name themselves.",
    ),
    Command("trust", "handfast.cli.trust", "trust_app", "The roots that devices embed, and bundles of them."),
    Command(
        "chain",
        "handfast.cli.chain",
        "chain",
        "Show a server's certificate chain link by link, and say which root a device needs.",
    ),
    Command("roots", "handfast.cli.roots", "roots_app", "Roots and what they sign, with root keys that lie elsewhere."),
    Command("config", "handfast.cli.config", "config_app", "The settings: what holds and where it came from."),
    Command("version", "handfast.cli.version", "version", "Print the version."),
)
_BY_NAME = {command.name: command for command in COMMANDS}


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are looked up."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of `COMMANDS`."""
        return [command.name for command in COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        known = self.commands.get(cmd_name)
        if known is None and cmd_name in _BY_NAME:
            known = self.commands[cmd_name] = load(_BY_NAME[cmd_name])
        return known

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list in `handfast --help`, from the table: no module is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(command.name, command.summary) for command in COMMANDS])


def load(command: Command) -> Any:
    """The subcommand itself, its module imported now."""
    target = getattr(importlib.import_module(command.module), command.attribute)
    if isinstance(target, typer.Typer):
        target.rich_markup_mode = None
        built: Any = typer.main.get_group(target)
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(command.name)(target)
        built = typer.main.get_command(single)
    built.name = command.name
    take_plain_values(built)
    return built


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    rich_markup_mode=None,  # plain help: whole sentences in 80 columns, and nothing to import
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        load(_BY_NAME["version"]).main(args=[], standalone_mode=False)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="As 'handfast version'.")
    ] = False,
) -> None:
    """The AWS IoT Core identity plane on your own machines."""


def run(arguments: Sequence[str]) -> int:
    """The exit status of `handfast ARGUMENTS`: 0 done, 1 failed, 2 cannot be done as asked."""
    command = typer.main.get_command(app)
    take_plain_values(command)
    try:
        status = command.main(args=list(arguments) or ["--help"], prog_name="handfast", standalone_mode=False)
    except ConfigurationError as error:
        return _complain(error, 2)
    except HandfastError as error:
        return _complain(error, 1)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "handfast"
        said = error.format_message().replace("Value error, ", "").rstrip(".")
        return _complain(f"{said}: see '{path} --help'.", error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # The reader of our output has left, as `| head` does; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None:  # no file of the user's: a mistake of ours, whose place the traceback says
            raise
        return _complain(f"{error.filename}: {error.strerror}; check the path, its owner and its mode", 2)
    return status if isinstance(status, int) else 0


def _complain(error: Exception | str, status: int) -> int:
    text = " ".join(str(error).split())
    print(f"handfast: {text}", file=sys.stderr)
    return status


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    # What a start loads stays loaded: looking for garbage among it as often as usual took a tenth of each start.
    gc.set_threshold(20_000, 50, 50)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
