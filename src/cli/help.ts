/**
 * @file How help looks: bold titles, and examples that can be copied.
 */
import type { AddHelpTextContext, Command, Help } from 'commander';

const ansi = (open: number, close: number) => (text: string) => `\x1b[${open}m${text}\x1b[${close}m`;

/** Commander takes the colours out again where the stream wants none. */
export const HELP_STYLE: Partial<Help> = {
  showGlobalOptions: true,
  styleTitle: ansi(1, 22),
  styleSubcommandTerm: ansi(36, 39),
  styleOptionTerm: ansi(36, 39),
  styleArgumentTerm: ansi(36, 39),
};

/** A section after the options, with a title like theirs. */
export function helpSection(title: string, body: string): (context: AddHelpTextContext) => string {
  return ({ command }) => `\n${command.createHelp().styleTitle(title)}\n${body}`;
}

/** Lines to copy, each with a word about what it does. */
export function addExamples(command: Command, examples: readonly (readonly [what: string, line: string])[]): Command {
  const body = examples.map(([what, line]) => `  ${ansi(2, 22)(`# ${what}`)}\n  ${line}`).join('\n');
  return command.addHelpText('after', helpSection('Examples:', body));
}
