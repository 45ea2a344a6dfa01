/**
 * @file Which file of src/families/brands holds which families, and how long their records are: read from the text.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { FAMILIES } from '../../src/families/table.ts';

export interface FamilyRecord {
  readonly file: string;
  readonly modelTypes: readonly string[];
  /** Lines of the record that hold code. */
  readonly lines: number;
}

const FOLDER = join(import.meta.dirname, '../../src/families/brands');

/** All records, by file. */
export function familyRecords(): FamilyRecord[] {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith('.ts'));
  return files.sort().flatMap((file) => recordsOf(file, readFileSync(join(FOLDER, file), 'utf8')));
}

function recordsOf(file: string, text: string): FamilyRecord[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const declared = source.statements
    .filter(ts.isVariableStatement)
    .flatMap(({ declarationList }) => [...declarationList.declarations]);
  return declared.flatMap((one) => {
    if (one.type?.getText() !== 'Family' || !one.initializer) return [];
    const types = /modelTypes: \[([^\]]*)\]/.exec(one.initializer.getText())?.[1] ?? '';
    const modelTypes = [...types.matchAll(/'([^']+)'/g)].map(([, type]) => type);
    return [{ file, modelTypes, lines: codeLines(source, one.parent.parent) }];
  });
}

/** Lines on which a token of the node stands: comments and empty lines are none. */
function codeLines(source: ts.SourceFile, node: ts.Node): number {
  const lines = new Set<number>();
  const visit = (child: ts.Node): void => {
    const children = child.getChildren(source).filter(({ kind }) => kind !== ts.SyntaxKind.JSDoc);
    for (const inner of children) visit(inner);
    if (children.length > 0) return;
    const [first, last] = [child.getStart(source), child.getEnd()].map(
      (at) => source.getLineAndCharacterOfPosition(at).line,
    );
    if (child.getWidth(source) > 0) for (let line = first; line <= last; line++) lines.add(line);
  };
  visit(node);
  return lines.size;
}

/** The table of docs/architecture.md. */
export function filesTable(records: readonly FamilyRecord[]): string {
  const files = [...new Set(records.map(({ file }) => file))];
  const cells = files.map((file) => [
    `\`${file}\``,
    records
      .filter((record) => record.file === file)
      .flatMap(({ modelTypes }) => modelTypes)
      .map((type) => `\`${type}\``)
      .join(', '),
  ]);
  const all = [['file', '`model_type`'], ...cells];
  const widths = [0, 1].map((i) => Math.max(...all.map((row) => row[i].length)));
  const line = (row: readonly string[]) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  return [line(all[0]), line(widths.map((width) => '-'.repeat(width))), ...cells.map(line)].join('\n');
}

/** Types of the table that no record has, and the other way around. */
export function missingTypes(records: readonly FamilyRecord[]): string[] {
  const [inRecords, inTable] = [records, FAMILIES].map((list) => new Set(list.flatMap(({ modelTypes }) => modelTypes)));
  return [...inRecords]
    .filter((type) => !inTable.has(type))
    .concat([...inTable].filter((type) => !inRecords.has(type)));
}
