import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  isArrowFunction,
  isBlock,
  isCallExpression,
  isExportAssignment,
  isExportDeclaration,
  isExpressionStatement,
  isFunctionDeclaration,
  isFunctionExpression,
  isIdentifier,
  isNamedExports,
  isVariableStatement,
  type Node,
  type Statement,
  SyntaxKind,
} from 'typescript/unstable/ast';
import { isIn, isTest, listFiles, parseSources, place, readSources, type Source, walk } from './sources.ts';

const functionLinesMax = 70;

/** Names that say nothing about what a file is for. */
const emptyName = /(^|[-.])(utils?|helpers?|common|managers?|services?|misc)([-.]|$)/;

/** Where every exported function says what its signature cannot. */
const documented = ['src/contract', 'src/model', 'src/audit', 'src/sandbox/backend'];

const functionKinds = new Set<SyntaxKind>([
  SyntaxKind.FunctionDeclaration,
  SyntaxKind.FunctionExpression,
  SyntaxKind.ArrowFunction,
  SyntaxKind.MethodDeclaration,
  SyntaxKind.Constructor,
  SyntaxKind.GetAccessor,
  SyntaxKind.SetAccessor,
]);

const sources = readSources();

function places(source: Source, matches: (node: Node) => boolean): string[] {
  const found: string[] = [];
  walk(source.file, (node) => {
    if (matches(node)) found.push(place(source, node));
  });
  return found;
}

/** Tests look at whatever came back; there the linter's own exception, which gives a reason, is enough. */
function isExcused({ path, file }: Source, node: Node): boolean {
  const lines = file.text.split('\n');
  const above = lines[file.getLineAndCharacterOfPosition(node.getStart(file)).line - 1] ?? '';
  return isTest(path) && /biome-ignore lint\/suspicious\/noExplicitAny: \S/.test(above);
}

function anyTypes(source: Source): string[] {
  return places(source, (node) => node.kind === SyntaxKind.AnyKeyword && !isExcused(source, node));
}

function defaultExports(source: Source): string[] {
  return places(source, (node) => {
    if (isExportAssignment(node) || node.kind === SyntaxKind.DefaultKeyword) {
      return node.parent.kind !== SyntaxKind.DefaultClause;
    }
    if (!isExportDeclaration(node) || !node.exportClause || !isNamedExports(node.exportClause)) return false;
    return node.exportClause.elements.some(({ name }) => name.getText() === 'default');
  });
}

/** A barrel passes on what other files export; readers then cannot see who needs what. */
function isBarrel({ path, file }: Source): boolean {
  const passesOn = (statement: Statement): boolean =>
    isExportDeclaration(statement) && !!statement.moduleSpecifier;
  if (/(^|\/)index\.ts$/.test(path)) return true;
  if (file.statements.length > 0 && file.statements.every(passesOn)) return true;
  return file.statements.some((statement) => isExportDeclaration(statement) && !statement.exportClause);
}

const testCalls = /^(describe|suite|it|test)(\.|$)/;

/** A function that declares tests is a heading over them, not one that anybody reads as one. */
function isHeading(node: Node): boolean {
  let declaresTests = false;
  node.forEachChild((body) => {
    if (!isBlock(body)) return;
    declaresTests = body.statements.some((statement) => {
      if (!isExpressionStatement(statement) || !isCallExpression(statement.expression)) return false;
      return testCalls.test(statement.expression.expression.getText());
    });
  });
  return declaresTests;
}

function longFunctions(source: Source): string[] {
  const line = (position: number): number => source.file.getLineAndCharacterOfPosition(position).line;
  return places(source, (node) => {
    if (!functionKinds.has(node.kind) || isHeading(node)) return false;
    return line(node.getEnd()) - line(node.getStart(source.file)) + 1 > functionLinesMax;
  });
}

const isExported = (statement: { readonly modifiers?: readonly Node[] }): boolean =>
  statement.modifiers?.some(({ kind }) => kind === SyntaxKind.ExportKeyword) ?? false;

/** The names of the functions that a statement exports. */
function exportedFunctions(statement: Statement): string[] {
  if (isFunctionDeclaration(statement)) return isExported(statement) ? [statement.name?.getText() ?? ''] : [];
  if (!isVariableStatement(statement) || !isExported(statement)) return [];
  return statement.declarationList.declarations.flatMap(({ name, initializer }) => {
    const isFunction = initializer && (isArrowFunction(initializer) || isFunctionExpression(initializer));
    return isFunction && isIdentifier(name) ? [name.text] : [];
  });
}

function undocumented({ path, file }: Source): string[] {
  const said = new Set(file.statements.filter(({ jsDoc }) => jsDoc?.length).flatMap(exportedFunctions));
  const names = new Set(file.statements.flatMap(exportedFunctions));
  return [...names].filter((name) => !said.has(name)).map((name) => `${path}: ${name}`);
}

function emptyNames(paths: readonly string[]): string[] {
  return paths.filter((path) => path.split('/').some((part) => emptyName.test(part)));
}

test('no type is any', () => {
  assert.deepEqual(sources.flatMap(anyTypes), []);
});

test('nothing is exported as default', () => {
  assert.deepEqual(sources.flatMap(defaultExports), []);
});

test('no file only passes on the exports of others', () => {
  assert.deepEqual(
    sources.filter(isBarrel).map(({ path }) => path),
    [],
  );
});

test('no file or folder has a name that says nothing', () => {
  assert.deepEqual(emptyNames(listFiles()), []);
});

test('every TypeScript file is named in kebab-case', () => {
  const kebab = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z]+)*\.ts$/;
  assert.deepEqual(
    sources.filter(({ path }) => !kebab.test(path.split('/').at(-1)!)).map(({ path }) => path),
    [],
  );
});

test(`no function is longer than ${functionLinesMax} lines`, () => {
  assert.deepEqual(sources.flatMap(longFunctions), []);
});

test('every function that contract, model, audit and the sandbox seam export has a docstring', () => {
  const checked = sources.filter(
    ({ path }) => !isTest(path) && documented.some((folder) => isIn(path, folder)),
  );
  assert.deepEqual(checked.flatMap(undocumented), []);
});

test('each breach of form is caught, and its like is not', () => {
  const [types, exports, barrel, star, index, docs, clean] = parseSources({
    'src/a.ts':
      '// biome-ignore lint/suspicious/noExplicitAny: not an excuse here\nlet a: any;\nfunction f(x: Array<any>) {}\nconst b = c as any;',
    'src/b.ts':
      'export default 1;\nexport default function f() {}\nexport { x as default };\nexport default class {}',
    'src/c.ts': "export { a } from './a.ts';\nexport type { B } from './b.ts';",
    'src/d.ts': "export const own = 1;\nexport * from './a.ts';",
    'src/index.ts': 'export const x = 1;',
    'src/e.ts':
      'export function f() {}\nexport const g = () => 1;\n// not a docstring\nexport async function h() {}',
    'src/f.ts':
      "// any default\n/** Says it. */\nexport function f(x: 'any') { switch (x) { default: } }\nexport const n = 1;\nexport { y } from './y.ts';",
  });
  assert.equal(anyTypes(types!).length, 3);
  assert.equal(new Set(defaultExports(exports!)).size, 4);
  assert.ok([barrel, star, index].every((source) => isBarrel(source!)));
  assert.deepEqual(undocumented(docs!), ['src/e.ts: f', 'src/e.ts: g', 'src/e.ts: h']);
  for (const rule of [anyTypes, defaultExports, undocumented]) assert.deepEqual(rule(clean!), []);
  assert.equal(isBarrel(clean!), false);
});

test('a function one line over the limit is caught, whatever its kind, and a heading is not', () => {
  const body = (lines: number): string => `{\n${'  f();\n'.repeat(lines - 2)}}`;
  const [long, short] = parseSources({
    'src/a.ts': [
      `function a() ${body(functionLinesMax + 1)}`,
      `const b = () => ${body(functionLinesMax + 1)};`,
      `class C { m() ${body(functionLinesMax + 1)} }`,
    ].join('\n'),
    'src/a.test.ts': `function a() ${body(functionLinesMax)}\ndescribe('x', () => ${body(200).replaceAll('f()', 'it()')});`,
  });
  assert.equal(longFunctions(long!).length, 3);
  assert.deepEqual(longFunctions(short!), []);
});

test('an empty name is caught anywhere in a path, and a word that contains one is not', () => {
  const bad = [
    'src/utils/a.ts',
    'src/x/string-helpers.ts',
    'src/session-manager.ts',
    'src/common.ts',
    'lib/misc.test.ts',
  ];
  assert.deepEqual(emptyNames([...bad, 'src/uncommon.ts', 'src/service-account-less/x.ts']), [
    ...bad,
    'src/service-account-less/x.ts',
  ]);
});
