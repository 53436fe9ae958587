// Draws what draw.py found: window.FOUND = { dashboard, theme, from, to, interval, panels: {id: [query with its result]},
// marks: [{time, colour}] }. What Grafana's server side and core app would do stands here, as little of it as our
// dashboard needs; what is drawn is drawn by @grafana/ui.
import {
  FieldType, ThemeContext, createTheme, getDisplayProcessor, reduceField, standardTransformers,
  standardTransformersRegistry, toDataFrame, toUtc, transformDataFrame,
} from '@grafana/data';
import { BigValue, GlobalStyles, PanelChrome, Table, TimeSeries } from '@grafana/ui';
import React from 'react';
import { createRoot } from 'react-dom/client';
import { lastValueFrom } from 'rxjs';
import 'uplot/dist/uPlot.min.css';

const { dashboard, theme: mode, from, to, interval, panels: found, marks } = window.FOUND;
const UNIT = 30, GAP = 8, WIDTH = 1600, COLUMN = (WIDTH - GAP) / 24;
const theme = createTheme({ colors: { mode } });
standardTransformersRegistry.setInit(() =>
  [...new Map(Object.values(standardTransformers).map((each) => [each.id, each])).values()].map((each) => ({ id: each.id, name: each.name, transformation: each })));

const legend = (format, labels) => format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? '').trim();

function lines(query) {
  return query.result.map(({ metric, values }) => toDataFrame({
    refId: query.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: values.map(([time]) => time * 1000), config: { interval } },
      {
        name: 'Value', type: FieldType.number, labels: metric, values: values.map(([, value]) => Number(value)),
        config: { displayNameFromDS: legend(query.legendFormat, metric) },
      },
    ],
  }));
}

function rows(query, alone) {
  const labels = [...new Set(query.result.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return toDataFrame({
    refId: query.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: query.result.map(({ values }) => values[0][0] * 1000) },
      ...labels.map((name) => ({
        name, type: FieldType.string, values: query.result.map(({ metric }) => metric[name] ?? ''),
      })),
      {
        name: alone ? 'Value' : `Value #${query.refId}`, type: FieldType.number,
        values: query.result.map(({ values }) => Number(values[0][1])),
      },
    ],
  });
}

function set(config, path, value) {
  const steps = path.split('.');
  const last = steps.pop();
  steps.reduce((inner, step) => (inner[step] ??= {}), config)[last] = value;
}

function dressed(frames, { defaults, overrides }) {
  let series = 0;
  for (const frame of frames) {
    for (const field of frame.fields) {
      const own = field.config;
      field.config = field.type === FieldType.time ? own : { ...structuredClone(defaults), ...own };
      field.config.custom ??= {};
      field.state = { seriesIndex: field.type === FieldType.number ? series++ : 0, range: undefined };
      const name = own.displayName ?? own.displayNameFromDS ?? field.name;
      field.state.displayName = name;
      for (const { matcher, properties } of overrides) {
        if (matcher.options === name) properties.forEach(({ id, value }) => set(field.config, id, value));
      }
      for (const step of field.config.thresholds?.steps ?? []) step.value ??= -Infinity;
      if (field.type === FieldType.number) {
        const numbers = field.values.filter((value) => value !== null);
        const min = field.config.min ?? Math.min(...numbers), max = field.config.max ?? Math.max(...numbers);
        field.state.range = { min, max, delta: max - min };
      }
      field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
    }
  }
  return frames;
}

function drawMarks(config) {
  config.addHook('draw', (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.lineWidth = 1;
    ctx.setLineDash([4, 4]);
    for (const { time, colour } of marks.filter((mark) => mark.time >= from && mark.time <= to)) {
      const x = Math.round(plot.valToPos(time, 'x', true));
      ctx.strokeStyle = ctx.fillStyle = theme.visualization.getColorByName(colour);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  });
  return null;
}

function Stat({ panel, width, height }) {
  const fields = dressed(found[panel.id].flatMap(lines), panel.fieldConfig).map((frame) => frame.fields[1]);
  if (fields.length === 0) return <Nothing panel={panel} />;
  return (
    <div style={{ display: 'flex', height }}>
      {fields.map((field) => {
        const { lastNotNull } = reduceField({ field, reducers: ['lastNotNull'] });
        const value = { ...field.display(lastNotNull), title: fields.length > 1 ? field.state.displayName : '' };
        return (
          <BigValue key={field.state.displayName} value={value} theme={theme} width={width / fields.length}
            height={height} count={fields.length} {...panel.options} />
        );
      })}
    </div>
  );
}

function Lines({ panel, width, height }) {
  const frames = dressed(found[panel.id].flatMap(lines), panel.fieldConfig);
  if (frames.length === 0) return <Nothing panel={panel} />;
  const shown = { from: toUtc(from), to: toUtc(to) };
  return (
    <TimeSeries frames={frames} timeRange={{ ...shown, raw: shown }} timeZone="utc" width={width} height={height}
      legend={panel.options.legend}>
      {drawMarks}
    </TimeSeries>
  );
}

function Rows({ panel, width, height }) {
  const [data, setData] = React.useState();
  React.useEffect(() => {
    const queries = found[panel.id];
    const frames = queries.map((query) => rows(query, queries.length === 1));
    lastValueFrom(transformDataFrame(panel.transformations, frames)).then(([frame]) =>
      setData(frame ? dressed([frame], panel.fieldConfig)[0] : { length: 0 }));
  }, []);
  if (!data) return null;
  if (data.length === 0) return <Nothing panel={panel} />;
  const { sortBy } = panel.options;
  return <Table data={data} width={width} height={height} cellHeight={panel.options.cellHeight} initialSortBy={sortBy} />;
}

const Nothing = ({ panel }) => (
  <div className="nothing" style={{ padding: 24, textAlign: 'center' }}>{panel.fieldConfig.defaults.noValue}</div>
);

const KINDS = { stat: Stat, timeseries: Lines, table: Rows };

function Panel({ panel }) {
  const { x, y, w, h } = panel.gridPos;
  const place = { position: 'absolute', left: GAP + x * COLUMN, top: 48 + y * (UNIT + GAP) };
  if (panel.type === 'row') return <h4 style={{ ...place, lineHeight: `${UNIT}px`, margin: 0 }}>⌄ {panel.title}</h4>;
  const Kind = KINDS[panel.type];
  return (
    <div style={place}>
      <PanelChrome title={panel.title} width={w * COLUMN - GAP} height={h * (UNIT + GAP) - GAP}>
        {(width, height) => <Kind panel={panel} width={width} height={height} />}
      </PanelChrome>
    </div>
  );
}

const bottom = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
createRoot(document.getElementById('page')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <div id="dashboard" style={{
      position: 'relative', width: WIDTH, height: 48 + bottom * (UNIT + GAP), background: theme.colors.background.canvas,
    }}>
      <h3 style={{ position: 'absolute', left: 16, top: 10 }}>{dashboard.title}</h3>
      {dashboard.panels.map((panel) => <Panel key={panel.id} panel={panel} />)}
    </div>
  </ThemeContext.Provider>,
);
