// The stops of a route, in their order, as a line. A stand-in: it shows what an extension is made of, and is no map.
define([], () => ({
  initialProperties: {
    qHyperCubeDef: { qDimensions: [], qMeasures: [], qInitialDataFetch: [{ qWidth: 3, qHeight: 1000 }] },
  },
  definition: {
    type: "items",
    component: "accordion",
    items: { dimensions: { uses: "dimensions", min: 1, max: 1 }, measures: { uses: "measures", min: 2, max: 2 } },
  },
  paint(element, layout) {
    const rows = layout.qHyperCube.qDataPages[0]?.qMatrix ?? [];
    const points = rows.map(([, longitude, latitude]) => [longitude.qNum, -latitude.qNum]);
    const xs = points.map(([x]) => x);
    const ys = points.map(([, y]) => y);
    const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys)];
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("points", points.map((point) => point.join(",")).join(" "));
    const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    picture.setAttribute("class", "route-map");
    picture.setAttribute("viewBox", points.length > 0 ? box.join(" ") : "0 0 1 1");
    picture.append(line);
    (element[0] ?? element).replaceChildren(picture);
  },
}));
