/**
 * @file How help looks: bold titles, and examples that can be copied.
 */
import type { AddHelpTextContext, Command, Help } from 'commander';

const ansi = (open: number, close: number) => (text: string) => `\x1b[${open}m${text}\x1b[${close}m`;

/** Columns that a description needs beside its option. */
const LEAST_BESIDE = 24;

/** Commander takes the colours out again where the stream wants none. */
export const HELP_STYLE: Partial<Help> = {
  showGlobalOptions: true,
  // Wrap at any width. Where little is left beside the term, the description goes below it.
  minWidthToWrap: 1,
  formatItem(this: Help, term: string, termWidth: number, description: string, helper: Help): string {
    const width = helper.helpWidth ?? 80;
    const left = width - termWidth - 4;
    if (description === '') return `  ${term}`;
    const beside = left >= LEAST_BESIDE;
    const indent = ' '.repeat(beside ? termWidth + 4 : 6);
    const text = helper.boxWrap(description, Math.max(1, width - indent.length)).replaceAll('\n', `\n${indent}`);
    return beside
      ? `  ${term}${' '.repeat(Math.max(2, termWidth + 2 - helper.displayWidth(term)))}${text}`
      : `  ${term}\n${indent}${text}`;
  },
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
