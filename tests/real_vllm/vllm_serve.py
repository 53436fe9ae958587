"""`vllm serve ...`, run by vLLM's interpreter: the CPU package's own command asks for a package `vllm` and ends."""

import sys

if __name__ == "__main__":  # vLLM's child processes import this file again
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    command = ServeSubcommand()
    command.subparser_init(parser.add_subparsers(dest="subparser"))
    options = parser.parse_args(["serve", *sys.argv[1:]])
    command.validate(options)
    command.cmd(options)
