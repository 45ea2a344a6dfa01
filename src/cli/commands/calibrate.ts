/**
 * @file `keyhold calibrate`: measures how much of the past the query groups of a model read.
 */
import { type Command, Option } from 'commander';
import { plotCalibration } from '../../exports/eval.ts';
import { addExamples } from '../help.ts';
import { checkPlot, writePlot } from '../input/eval-inputs.ts';
import {
  addHubOptions,
  addLoadOptions,
  addModelArgument,
  type LoadFlags,
  wholeFrom,
  withModel,
} from '../input/options.ts';
import { readGivenFile } from '../input/text-file.ts';
import { type CliIo, tell } from '../io.ts';
import { loadForCommand } from '../models/load.ts';
import { calibrationLines } from '../output/calibration-view.ts';
import { counted, duration } from '../output/format.ts';
import { Progress } from '../output/progress.ts';
import { styleOf } from '../output/style.ts';

interface CalibrateFlags extends LoadFlags {
  readonly text?: string;
  readonly length?: number;
  readonly plot?: string;
  readonly json?: boolean;
}

export function addCalibrate(program: Command, io: CliIo): void {
  const command = program
    .command('calibrate')
    .summary('measure which query groups of a model read the past')
    .description(
      'Measures how much of the past each query group of a model reads. The policy routed distributes the slots of a cache by ' +
        'this table. A checkpoint is measured once: the table is kept beside the prepared weights.',
    )
    .addOption(
      new Option('--text <file>', 'a text of the kind that the model is used for (default: texts of the package)'),
    )
    .addOption(new Option('--length <n>', 'tokens of each part of the text (default: 512)').argParser(wholeFrom(1)))
    .option('--plot <file>', 'draw which groups get the slots, as an SVG or PNG file')
    .option('--json', 'print the table');
  addModelArgument(command);
  addLoadOptions(command);
  addHubOptions(command);
  addExamples(command, [
    ['the small model', 'keyhold calibrate'],
    ['for your own kind of text', 'keyhold calibrate org/name --text reports.txt'],
  ]);
  command.action(async (argument: string | undefined, flags: CalibrateFlags) => {
    await calibrate(withModel(command, argument, flags), io);
  });
}

async function calibrate(flags: CalibrateFlags, io: CliIo): Promise<void> {
  if (flags.plot !== undefined) await checkPlot(flags.plot);
  const texts = flags.text === undefined ? undefined : [await readGivenFile(flags.text)];
  const progress = new Progress(io);
  const model = await loadForCommand(flags, io, progress);
  const begin = performance.now();
  try {
    const table = await model.calibrate({
      texts,
      length: flags.length,
      signal: io.signal,
      onProgress: (done, total) => progress.update({ label: 'Calibrating', done, total, unit: 'tokens' }),
    });
    progress.end();
    if (flags.plot !== undefined) await writePlot(flags.plot, plotCalibration(table), io);
    if (flags.json) {
      io.stdout.write(`${JSON.stringify(table)}\n`);
      return;
    }
    const groups = table.layers.flatMap((layer) => layer ?? []).length;
    const layers = table.layers.filter((layer) => layer !== null).length;
    const { dim } = styleOf(io.stderr, io.env);
    io.stdout.write(`${calibrationLines(table, styleOf(io.stdout, io.env)).join('\n')}\n`);
    tell(
      io,
      dim(
        `${counted(groups, 'query group')} of ${counted(layers, 'layer')}, in ${duration(performance.now() - begin)}`,
      ),
    );
  } finally {
    progress.end();
    await model.dispose();
  }
}
