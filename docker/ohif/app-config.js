// OHIF 3.13 beside orthanc_al: Orthanc's DICOMweb behind /dicom-web, the gateway behind /al, one origin.
//
// The toolbar confirms, rejects or leaves open a finding with one click: the gateway knows who reads, writes
// the verified report and sends it. Nothing here needs a build of OHIF.
(() => {
  "use strict";

  const GATEWAY = "/al/api/v1";
  const VALUES = [
    { value: "present", icon: "status-tracked", word: "present" },
    { value: "absent", icon: "Cancel", word: "absent" },
    { value: "undetermined", icon: "status-untracked", word: "can't be told" },
  ];

  let me = { reader: "", may_confirm: false, may_name_reader: false, findings: [] };

  /** Asks the gateway; an answer that is no success becomes an Error with the gateway's own words. */
  async function ask(path, body) {
    const options = { credentials: "same-origin", headers: { accept: "application/json" } };
    if (body !== undefined) {
      options.method = "POST";
      options.body = JSON.stringify(body);
      options.headers["content-type"] = "application/json";
      options.headers["x-orthanc-al"] = "1"; // a foreign page can't send this: no read by a forged form
    }
    const answer = await fetch(GATEWAY + path, options);
    const said = await answer.json().catch(() => null);
    if (!answer.ok || said === null) {
      const error = new Error(typeof said?.detail === "string" ? said.detail : `The gateway answers ${answer.status}.`);
      error.status = answer.status;
      error.changed = answer.headers.get("x-orthanc-al-reason") === "changed";
      throw error;
    }
    return said;
  }

  /** What the gateway shows of a study; `result` is null while a blind read is to be made. */
  const look = (uid) => ask(`/studies/${encodeURIComponent(uid)}`);

  /** The studies that stand open, from the address: what is signed is what is looked at. */
  const open = () =>
    new URLSearchParams(location.search).getAll("StudyInstanceUIDs").flatMap((one) => one.split(",")).filter(Boolean);

  /** A result in words: what OHIF's own measurement panel leaves out. */
  function inWords(results) {
    return results
      .map((one) => `${one.why}; uncertainty ${one.std.toFixed(2)}`)
      .join("\n");
  }

  /** Sees to a name that the read is signed with; false where the reader gives none. */
  async function named() {
    if (me.reader) return true;
    if (!me.may_name_reader) throw new Error("The gateway does not know who reads: sign in on its page first.");
    const name = window.prompt("Your name, as it is to stand in the report (Family, Given):");
    if (!name) return false;
    me = await ask("/me", { reader: name });
    return true;
  }

  class Reading {
    constructor(services) {
      this.notifications = services.uiNotificationService;
      this.seen = new Map(); // study -> the revision that was on the screen
      this.busy = false; // a double click is one read
    }

    /** Remembers what is looked at. */
    async opened(uid) {
      const results = await this.results(uid, (study) => this.seen.set(uid, study.revision));
      if (results?.length) this.tell("orthanc_al", inWords(results), "info", 15000);
    }

    /** Says again what the model said, where it may be told. */
    async again() {
      const results = await this.results(open()[0] || "none");
      const none = "No result: it has no score, or none that is told before it is read.";
      if (results) this.tell("orthanc_al", inWords(results) || none, "info", 15000);
    }

    /** Returns the results of a study, null where they can't be had. */
    async results(uid, remember = () => {}) {
      try {
        const { study, results } = await look(uid);
        remember(study);
        return results;
      } catch (error) {
        if (error.status !== 404) this.tell("orthanc_al", error.message, "warning");
        return null;
      }
    }

    async read(finding, value) {
      if (this.busy) return;
      this.busy = true;
      try {
        const uids = open();
        if (uids.length !== 1) throw new Error("Open one study alone to sign it.");
        if (!(await named())) return;
        const revision = this.seen.get(uids[0]) ?? 0; // 0 is none: of what was opened before it was known
        const said = { finding, value, revision };
        const taken = await ask(`/studies/${encodeURIComponent(uids[0])}/reads`, said);
        const again = taken.state === "conflict" ? "Another reader says otherwise: it goes to adjudication." : "";
        this.tell(`${finding}: ${value}`, `Signed by ${taken.reader.replaceAll("^", ", ")}. ${again}`, "success");
        if (me.findings.length === 1) this.next(taken.next);
      } catch (error) {
        this.tell("Not signed", error.message, "error", 15000);
        // What came meanwhile is not on the screen: another click must not sign it before it is.
        if (error.changed) setTimeout(() => location.reload(), 4000);
      } finally {
        this.busy = false;
      }
    }

    async goOn() {
      const [uid] = open();
      try {
        this.next(await ask(`/studies/${encodeURIComponent(uid || "none")}/next`));
      } catch (error) {
        this.tell("orthanc_al", error.message, "warning");
      }
    }

    /** Opens the next study of the worklist in its order. */
    next(after) {
      if (!after) {
        this.tell("Worklist", "No study waits.", "info");
        return;
      }
      const uid = encodeURIComponent(after.study.study_instance_uid);
      setTimeout(() => location.assign(`${location.pathname}?StudyInstanceUIDs=${uid}`), 800);
    }

    tell(title, message, type, duration = 6000) {
      this.notifications.show({ title, message, type, duration });
    }
  }

  let reading; // OHIF calls an extension's functions without their object

  const extension = {
    id: "orthanc-al",

    preRegistration({ servicesManager }) {
      const { customizationService } = servicesManager.services;
      reading = new Reading(servicesManager.services);
      const items = me.findings.flatMap((finding) =>
        VALUES.map(({ value, word }) => ({ value: `${finding} ${value}`, label: `${finding} ${word}` })),
      );
      customizationService.setCustomizations(
        {
          // The label of a measurement is one of these: what the gateway reads back as a statement.
          ...(items.length && { measurementLabels: { $set: { labelOnMeasure: false, exclusive: true, items } } }),
          "ohif.tours": { $set: [] }, // she has seconds
          onBeforeDicomStore: { $set: ({ dicomDict, naturalizedReport }) => ownReport(dicomDict, naturalizedReport) },
        },
        customizationService.Scope?.Global,
      );
    },

    getCommandsModule() {
      return {
        definitions: {
          orthancAlRead: ({ finding, value }) => reading.read(finding, value),
          orthancAlAgain: () => reading.again(),
          orthancAlNext: () => reading.goOn(),
        },
        defaultContext: "DEFAULT",
      };
    },

    // Before the mode's own buttons, so that ours stand first.
    onModeEnter({ servicesManager }) {
      const { toolbarService } = servicesManager.services;
      const buttons = me.findings.flatMap((finding) => VALUES.map((one) => readButton(finding, one)));
      buttons.push(button("orthanc-al-again", "info-link", "What the model says", "orthancAlAgain"));
      buttons.push(button("orthanc-al-next", "ArrowRightBold", "Next study of the worklist", "orthancAlNext"));
      toolbarService.register(buttons, true);
      toolbarService.updateSection("primary", buttons.map((one) => one.id));
      open().forEach((uid) => reading.opened(uid));
    },
  };

  function readButton(finding, { value, icon, word }) {
    const commands = { commandName: "orthancAlRead", commandOptions: { finding, value } };
    return button(`orthanc-al-${finding}-${value}`, icon, `${finding}: ${word}`, commands);
  }

  function button(id, icon, label, commands) {
    return { id, uiType: "ohif.toolButton", props: { icon, label, tooltip: label, commands, evaluate: "evaluate.action" } };
  }

  /** A report that a reader saves from her own measurements: in a series of its own, under her name. */
  function ownReport(dicomDict, report) {
    report.SeriesInstanceUID = `2.25.${randomNumber()}`; // stock OHIF would write into the AI's series
    report.SeriesDescription = "Reader's measurements";
    report.SeriesNumber = 9804;
    for (const replaced of [].concat(report.PredecessorDocumentsSequence || [])) {
      for (const series of [].concat(replaced.ReferencedSeriesSequence || [])) {
        for (const sop of [].concat(series.ReferencedSOPSequence || [])) {
          sop.ReferencedSOPClassUID ||= "1.2.840.10008.5.1.4.1.1.88.34"; // Comprehensive 3D SR: ours
        }
      }
    }
    if (me.reader) {
      for (const item of [].concat(report.ContentSequence || [])) {
        if ([].concat(item.ConceptNameCodeSequence || [])[0]?.CodeValue === "121008") item.PersonName = me.reader;
      }
    }
    return dicomDict;
  }

  /** 122 random bits in decimal (PS3.5 B.2). */
  function randomNumber() {
    const words = crypto.getRandomValues(new Uint32Array(4));
    words[0] >>>= 6;
    return words.reduce((number, word) => (number << 32n) | BigInt(word), 0n).toString();
  }

  const viewer = {
    routerBasename: null,
    extensions: [extension],
    modes: [],
    customizationService: {},
    showStudyList: true,
    showLoadingIndicator: true,
    showWarningMessageForCrossOrigin: false,
    showCPUFallbackMessage: false,
    maxNumberOfWebWorkers: 3,
    investigationalUseDialog: { option: "never" }, // the gateway's own pages say it
    measurementTrackingMode: "simplified",
    disableConfirmationPrompts: true,
    defaultDataSourceName: "orthanc",
    dataSources: [
      {
        namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
        sourceName: "orthanc",
        configuration: {
          friendlyName: "Orthanc",
          name: "orthanc",
          wadoUriRoot: "/dicom-web",
          qidoRoot: "/dicom-web",
          wadoRoot: "/dicom-web",
          qidoSupportsIncludeField: false,
          supportsFuzzyMatching: false,
          supportsWildcard: true,
          imageRendering: "wadors",
          thumbnailRendering: "wadors",
          enableStudyLazyLoad: true,
          omitQuotationForMultipartRequest: true,
          dicomUploadEnabled: false,
          bulkDataURI: { enabled: true, relativeResolution: "studies" },
        },
      },
    ],
  };

  // OHIF takes a function, and waits for it: by then it is known who reads, and what is looked for.
  window.config = async () => {
    try {
      me = await ask("/me");
    } catch {
      // The gateway is away: the viewer opens all the same, without our buttons.
    }
    return viewer;
  };
})();
