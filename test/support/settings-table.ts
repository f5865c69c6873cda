/** The README's configuration table, made from the schema that reads the settings. */
import { settingsSchema } from '../../src/config/settings.ts';

interface Setting {
  readonly type: string;
  readonly description: string;
  readonly default?: string | number;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
}

export function renderSettingsTable(): string {
  const rows = Object.entries<Setting>(settingsSchema.properties).map(
    ([name, setting]) =>
      `| \`${name}\` | ${renderValues(setting)} | ${renderDefault(setting)} | ${setting.description} |`,
  );
  return ['| variable | value | default | meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

function renderValues({ type, enum: values, minimum, maximum }: Setting): string {
  if (values) return values.map(code).join(', ');
  return type === 'integer' || type === 'number' ? `${minimum} to ${maximum}` : 'text';
}

function renderDefault({ default: value }: Setting): string {
  return value === undefined || value === '' ? '' : code(value);
}

function code(value: string | number): string {
  return `\`${value}\``;
}
