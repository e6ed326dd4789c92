import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  isCallExpression,
  isElementAccessExpression,
  isIdentifier,
  isNewExpression,
  isObjectBindingPattern,
  isPropertyAccessExpression,
  isStringLiteral,
  isVariableDeclaration,
  type Node,
} from 'typescript/unstable/ast';
import {
  type Import,
  importsOf,
  isIn,
  isProduct,
  parseSources,
  place,
  readSources,
  type Source,
  walk,
} from './sources.ts';

/** Files besides src/base/clock.ts that may ask for the time, each with its reason. */
const clockExceptions: readonly string[] = [];

const sources = readSources();

/** `a.b` and `a['b']` as `a.b`; other expressions as null. */
function access(node: Node): string | null {
  if (isPropertyAccessExpression(node)) return `${node.expression.getText()}.${node.name.getText()}`;
  if (!isElementAccessExpression(node) || !node.argumentExpression) return null;
  const key = node.argumentExpression;
  return isStringLiteral(key) ? `${node.expression.getText()}.${key.text}` : null;
}

/** The member names that `const { x, y } = object` takes out of the object of this name. */
function takenFrom(node: Node, object: string): string[] {
  if (!isVariableDeclaration(node) || node.initializer?.getText() !== object) return [];
  if (!node.name || !isObjectBindingPattern(node.name)) return [];
  return node.name.elements.map((element) => (element.propertyName ?? element.name)?.getText() ?? '');
}

function readsEnvironment(node: Node): boolean {
  return /(^|\.)process\.env$/.test(access(node) ?? '') || takenFrom(node, 'process').includes('env');
}

function asksForTime(node: Node): boolean {
  if (/(^|\.)(Date\.now|performance\.(now|timeOrigin)|process\.hrtime)$/.test(access(node) ?? ''))
    return true;
  if (takenFrom(node, 'Date').includes('now') || takenFrom(node, 'performance').includes('now')) return true;
  const isDate = (expression: Node): boolean => isIdentifier(expression) && expression.getText() === 'Date';
  if (isNewExpression(node)) return isDate(node.expression) && (node.arguments?.length ?? 0) === 0;
  return isCallExpression(node) && isDate(node.expression);
}

const isProcess = (target: Import): boolean => target.kind === 'node' && target.name === 'node:process';

function places(checked: readonly Source[], matches: (node: Node) => boolean): string[] {
  return checked.flatMap((source) => {
    const found: string[] = [];
    walk(source.file, (node) => {
      if (matches(node)) found.push(place(source, node));
    });
    return found;
  });
}

const outsideMain = (path: string): boolean => isProduct(path) && !isIn(path, 'src/main');
const outsideClock = (path: string): boolean =>
  isProduct(path) && path !== 'src/base/clock.ts' && !clockExceptions.includes(path);

test('the environment is read only in src/main', () => {
  const checked = sources.filter(({ path }) => outsideMain(path));
  assert.deepEqual(places(checked, readsEnvironment), []);
  const importers = checked.filter((source) => importsOf(source).some(isProcess)).map(({ path }) => path);
  assert.deepEqual(importers, [], 'node:process is imported');
});

test('time is read only in src/base/clock.ts', () => {
  const checked = sources.filter(({ path }) => outsideClock(path));
  assert.deepEqual(places(checked, asksForTime), []);
});

test('no clock exception outlives its file', () => {
  const paths = new Set(sources.map(({ path }) => path));
  assert.deepEqual(
    clockExceptions.filter((path) => !paths.has(path)),
    [],
  );
});

test('each way of reading the environment is caught, and its like is not', () => {
  const fixtures = parseSources({
    'src/base/a.ts': "process.env.HOME;\nprocess['env'];\nglobalThis.process.env;\nconst { env } = process;",
    'src/base/b.ts': "const text = 'process.env'; // process.env\nrequest.env; ({ env: 1 }).env;",
  });
  const expected = [1, 2, 3, 4].map((line) => `src/base/a.ts:${line}`);
  assert.deepEqual(places(fixtures, readsEnvironment), expected);
});

test('each way of reading the time is caught, and converting a time is not', () => {
  const fixtures = parseSources({
    'src/base/a.ts':
      'Date.now();\nnew Date();\nnew Date;\nDate();\nperformance.now();\nprocess.hrtime.bigint();\nconst { now } = Date;\n[1].map(Date.now);',
    'src/base/b.ts': "new Date(5).toISOString(); clock.now(); Date.parse('x'); const t = 'Date.now()';",
  });
  const expected = [1, 2, 3, 4, 5, 6, 7, 8].map((line) => `src/base/a.ts:${line}`);
  assert.deepEqual(places(fixtures, asksForTime), expected);
});
