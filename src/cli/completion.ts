import type { Command } from 'commander';
import { type Context, print } from './context.ts';
import { UsageFailure } from './failure.ts';

/** What completion knows of one command: its words from the program's name on, and what may follow them. */
export type CompletionNode = {
  /** The subcommands that lead here, joined by blanks; empty for the program. */
  readonly path: string;
  readonly words: readonly { readonly word: string; readonly help: string }[];
  readonly flags: readonly { readonly flag: string; readonly help: string; readonly takesValue: boolean }[];
};

export function defineCompletion(program: Command, context: Context): void {
  program
    .command('completion')
    .summary('print a completion script for your shell')
    .description(
      'Prints a completion script.\n' +
        '  bash: sealwright completion bash > ~/.local/share/bash-completion/completions/sealwright\n' +
        '  zsh:  sealwright completion zsh > "$HOME/.zfunc/_sealwright" (a folder of $fpath)\n' +
        '  fish: sealwright completion fish > ~/.config/fish/completions/sealwright.fish',
    )
    .argument('<shell>', 'bash, zsh or fish')
    .action(async (shell: string) => {
      const script = Object.hasOwn(scripts, shell) ? scripts[shell] : undefined;
      if (script === undefined)
        throw new UsageFailure(`There is completion for bash, zsh and fish, not for "${shell}"`);
      await print(context.environment, script(completionTree(program)));
    });
}

export function completionTree(command: Command, path = ''): CompletionNode[] {
  const visible = command
    .createHelp()
    .visibleCommands(command)
    .filter((child) => child.name() !== 'help');
  const flags = command.createHelp().visibleOptions(command);
  const node: CompletionNode = {
    path,
    words: visible.map((child) => ({
      word: child.name(),
      help: child.summary() || firstLine(child.description()),
    })),
    flags: flags.flatMap((option) =>
      [option.long, option.short]
        .filter((flag) => typeof flag === 'string')
        .map((flag) => ({ flag, help: option.description, takesValue: option.required || option.optional })),
    ),
  };
  return [node, ...visible.flatMap((child) => completionTree(child, `${path} ${child.name()}`.trim()))];
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? '';
}

const scripts: Record<string, (nodes: readonly CompletionNode[]) => string> = { bash, zsh, fish };

function single(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Walks the words typed so far down the tree of subcommands; a flag's value falls back to file names. */
function bash(nodes: readonly CompletionNode[]): string {
  const cases = nodes.map(({ path, words, flags }) => {
    const all = [...words.map(({ word }) => word), ...flags.map(({ flag }) => flag)].join(' ');
    return `    ${single(path)}) words=${single(all)} ;;`;
  });
  const paths = nodes.map(({ path }) => path).filter((path) => path !== '');
  return `# bash completion for sealwright
_sealwright() {
  local current=\${COMP_WORDS[COMP_CWORD]} path='' word words='' index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    [[ $word == -- ]] && { compopt -o default; return; }
    case "\${path:+$path }$word" in
      ${paths.map(single).join('|')}) path="\${path:+$path }$word" ;;
    esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _sealwright sealwright
`;
}

function zsh(nodes: readonly CompletionNode[]): string {
  const item = (word: string, help: string) => single(`${word.replaceAll(':', '\\:')}:${firstLine(help)}`);
  const cases = nodes.map(({ path, words, flags }) => {
    const all = [
      ...words.map(({ word, help }) => item(word, help)),
      ...flags.map(({ flag, help }) => item(flag, help)),
    ];
    return `    ${single(path)}) items=(${all.join(' ')}) ;;`;
  });
  const paths = nodes.map(({ path }) => path).filter((path) => path !== '');
  return `#compdef sealwright
_sealwright() {
  local path='' word
  local -a items
  for word in "\${(@)words[2,CURRENT-1]}"; do
    [[ $word == -- ]] && { _default; return; }
    case "\${path:+$path }$word" in
      ${paths.map((path) => `(${path.replaceAll(' ', '\\ ')})`).join('|')}) path="\${path:+$path }$word" ;;
    esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  _describe -t commands sealwright items || _files
}
_sealwright "$@"
`;
}

function fish(nodes: readonly CompletionNode[]): string {
  const paths = nodes.map(({ path }) => path).filter((path) => path !== '');
  const lines = nodes.flatMap(({ path, words, flags }) => {
    const here = `-n ${single(`__sealwright_at ${single(path)}`)}`;
    return [
      ...words.map(
        ({ word, help }) =>
          `complete -c sealwright ${here} -f -a ${single(word)} -d ${single(firstLine(help))}`,
      ),
      ...flags.map(({ flag, help, takesValue }) => {
        const name = flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`;
        return `complete -c sealwright ${here} ${name}${takesValue ? ' -r' : ''} -d ${single(firstLine(help))}`;
      }),
    ];
  });
  return `# fish completion for sealwright
function __sealwright_at
  set -l path ''
  for word in (commandline -opc)[2..-1]
    test "$word" = --; and return 1
    set -l longer (string trim -- "$path $word")
    contains -- "$longer" ${paths.map(single).join(' ')}; and set path $longer
  end
  test "$path" = "$argv[1]"
end
${lines.join('\n')}
`;
}
