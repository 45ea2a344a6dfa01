/**
 * @file The command `keyhold`: its sub-commands, and what holds for all of them.
 */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { packageFile } from '../util/files/shipped-node.ts';
import { addOfflineBatch } from './commands/batch.ts';
import { addBench } from './commands/bench.ts';
import { addCache } from './commands/cache.ts';
import { addCalibrate } from './commands/calibrate.ts';
import { addChat } from './commands/chat.ts';
import { addConvert } from './commands/convert.ts';
import { addDoctor } from './commands/doctor.ts';
import { addDownload } from './commands/download.ts';
import { addEmbed } from './commands/embed.ts';
import { addEstimate } from './commands/estimate.ts';
import { addEval } from './commands/eval.ts';
import { addGenerate } from './commands/generate.ts';
import { addInspect } from './commands/inspect.ts';
import { addMerge } from './commands/merge.ts';
import { addRerank } from './commands/rerank.ts';
import { addServe } from './commands/serve.ts';
import { tellFailure, UsageError } from './failure.ts';
import { addExamples, HELP_STYLE } from './help.ts';
import { type CliIo, type OutStream, widthOf } from './io.ts';
import { styleOf, wantsColour } from './output/style.ts';

const MOST_WIDTH = 100;

/** The command line, ready to parse. */
export function createProgram(io: CliIo): Command {
  const program = new Command('keyhold')
    .description(
      'Runs language models from Hugging Face checkpoints and GGUF files,\nwith a key-value cache that stays within a budget.',
    )
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show this help')
    .helpCommand(false)
    .option('-v, --verbose', 'errors with their stack (also: KEYHOLD_DEBUG=1)')
    .exitOverride()
    .configureHelp(HELP_STYLE)
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      outputError: (text, write) => write(oneLine(text, io)),
      getOutHelpWidth: () => helpWidth(io.stdout),
      getErrHelpWidth: () => helpWidth(io.stderr),
      getOutHasColors: () => wantsColour(io.stdout, io.env),
      getErrHasColors: () => wantsColour(io.stderr, io.env),
    });
  addGenerate(program, io);
  addChat(program, io);
  addInspect(program, io);
  addEstimate(program, io);
  addEmbed(program, io);
  addRerank(program, io);
  addBench(program, io);
  addDownload(program, io);
  addEval(program, io);
  addMerge(program, io);
  addConvert(program, io);
  addCache(program, io);
  addCalibrate(program, io);
  addServe(program, io, packageVersion());
  addOfflineBatch(program, io);
  addDoctor(program, io, packageVersion());
  addHelp(program);
  for (const command of program.commands)
    if (command.commands.length > 0) command.helpCommand('help [command]', SHOW_HELP);
  for (const command of [program, ...program.commands])
    command.showHelpAfterError(`See ${command === program ? '' : 'keyhold '}${command.name()} --help.`);
  return addExamples(program, [
    ['a first look: the small model that ships with keyhold, in a cache of 128 tokens', 'keyhold generate --demo'],
    ['go on from a text', 'keyhold generate "In the beginning"'],
    ['what a model is, and what memory it takes', 'keyhold inspect Qwen/Qwen3-0.6B'],
  ]);
}

const SHOW_HELP = 'show the help of a command';

/** `keyhold help eval compare`: commander's own help command knows one level only. */
function addHelp(program: Command): void {
  const help = program
    .command('help')
    .summary(SHOW_HELP)
    .description('Shows the help of a command, such as `keyhold help eval compare`.')
    .argument('[command...]', 'the command')
    .action((path: readonly string[]) => {
      let command = program;
      for (const name of path) {
        const found = command.commands.find((sub) => sub.name() === name);
        if (!found)
          throw new UsageError(
            `there is no command "${path.join(' ')}"; there are ${command.commands.map((sub) => sub.name()).join(', ')}`,
          );
        command = found;
      }
      command.outputHelp();
    });
  addExamples(help, [['the help of a command within a command', 'keyhold help eval compare']]);
}

/**
 * Runs one command.
 * @param args without the names of node and the script.
 * @returns the exit code.
 */
export async function run(args: readonly string[], io: CliIo): Promise<number> {
  const program = createProgram(io);
  try {
    // No arguments: print the help.
    if (args.length === 0) program.outputHelp();
    else await program.parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    return tellFailure(io, error, program.opts()['verbose'] === true || Boolean(io.env['KEYHOLD_DEBUG']));
  }
}

function packageVersion(): string {
  const text = readFileSync(packageFile('package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** Commander puts its suggestions on a line of their own. */
function oneLine(text: string, io: CliIo): string {
  const message = text
    .trim()
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ');
  return `${styleOf(io.stderr, io.env).red('error:')} ${message}\n`;
}

function helpWidth(stream: OutStream): number {
  return Math.min(MOST_WIDTH, widthOf(stream));
}
