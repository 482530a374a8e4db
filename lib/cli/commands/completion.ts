// `ptalk completion bash|zsh|fish`: a script for the shell, which asks ptalk itself what can stand at a place.
import { Command, Option } from "commander";
import { TalkError } from "../../base/errors.ts";
import { commandContext } from "../command-context.ts";
import { complete, type Loadable, namesOn } from "../completion.ts";
import { print } from "../output.ts";

const SCRIPTS = {
  bash: `# ptalk in bash: eval "$(ptalk completion bash)" in ~/.bashrc
_ptalk() {
  local IFS=$'\\n'
  COMPREPLY=($(ptalk completion --words -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _ptalk ptalk`,
  zsh: `#compdef ptalk
# ptalk in zsh: eval "$(ptalk completion zsh)" in ~/.zshrc, behind compinit
_ptalk() {
  local -a found
  found=("\${(@f)$(ptalk completion --words -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "$found" ]]; then compadd -a found; else _files; fi
}
compdef _ptalk ptalk`,
  fish: `# ptalk in fish: ptalk completion fish >~/.config/fish/completions/ptalk.fish
complete -c ptalk -f -a '(ptalk completion --words -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'`,
} as const;

/** @param commands all of them: it completes them */
export function completion(commands: Loadable): { command: () => Command } {
  return { command: () => command(commands) };
}

function command(commands: Loadable): Command {
  return new Command("completion")
    .description("Prints a script that makes Tab complete commands, options, and the names of who is on.")
    .argument("[words...]", "bash, zsh or fish")
    .addOption(new Option("--words", "what the last of these words can become, for the scripts").hideHelp())
    .action((words, options, self) => run(words, options, self, commands));
}

async function run(
  words: string[],
  options: { readonly words?: boolean },
  command: Command,
  commands: Loadable,
): Promise<void> {
  if (options.words) return printWords(words, command, commands);
  const [shell, ...more] = words;
  if (shell === undefined || more.length > 0 || !Object.hasOwn(SCRIPTS, shell)) {
    throw TalkError.usage(`ptalk completion takes one of ${Object.keys(SCRIPTS).join(", ")}`);
  }
  await print(SCRIPTS[shell as keyof typeof SCRIPTS]);
}

async function printWords(words: readonly string[], command: Command, commands: Loadable): Promise<void> {
  const globals = new Map<string, boolean>([["--help", false]]);
  for (const { long, required } of command.parent?.options ?? []) if (long) globals.set(long, required);
  const found = await complete(words, {
    commands,
    globals,
    names: async (prefix) => namesOn(prefix, (await commandContext(command)).config),
  });
  if (found.length > 0) await print(found.join("\n"));
}
